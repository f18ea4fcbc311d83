// Who is that, and may he? (keystone.auth) Every failure is the same 401, so that nobody
// learns which of user, password and project was wrong.

import { randomBytes, randomUUID } from 'node:crypto'
import { HTTPUnauthorized, type HTTPException } from '../../mini-wsgi.ts'
import { DOMAIN, PROJECTS, USERS, type Project, type User } from './data.ts'
import { isDict } from './json.ts'
import { store, type Token } from './store.ts'
import { entity, field, wrong, type Fields } from './validation.ts'

const TOKEN_LIFE = 3600_000                                               // milliseconds

export const unauthorized = (): HTTPException => new HTTPUnauthorized({
  explanation: 'The request you have made requires authentication.',
})

/** The user of `methods` and their credentials. */
export async function identify(identity: Fields): Promise<User> {
  const methods = field(identity, 'methods')
  if (!Array.isArray(methods)) throw wrong('methods', 'a list', methods)
  if (methods.includes('token')) return await identifyByToken(entity(identity, 'token'))
  if (!methods.includes('password')) throw unauthorized()
  return identifyByPassword(entity(entity(identity, 'password'), 'user'))
}

export function identifyByPassword(login: Fields): User {
  const user = USERS.find((candidate) => isNamed(login, candidate))
  if (user && user.password === field(login, 'password')) return user
  throw unauthorized()
}

export async function identifyByToken(fields: Fields): Promise<User> {
  const id = field(fields, 'id')
  const token = typeof id === 'string' ? await store().token(id) : null
  const user = USERS.find((candidate) => candidate.id === token?.userId)
  if (user) return user
  throw unauthorized()
}

/** No scope at all is legal: a token that says who one is, and opens nothing. */
export function findScope(scope: unknown, user: User): Project | null {
  if (scope === undefined || scope === 'unscoped') return null
  if (isDict(scope) && field(scope, 'unscoped') !== undefined) return null
  if (!isDict(scope)) throw wrong('scope', 'an object', scope)
  if (field(scope, 'project') === undefined) throw unauthorized()
  return findProject(entity(scope, 'project'), user)
}

export function findProject(wanted: Fields, user: User): Project {
  const project = PROJECTS.find((candidate) => isNamed(wanted, candidate))
  if (project && user.projects.includes(project.id)) return project
  throw unauthorized()
}

// By id, or by name in a domain; our only domain may be left out.
function isNamed(wanted: Fields, { id, name }: { id: string; name: string }): boolean {
  if (field(wanted, 'id') !== undefined) return field(wanted, 'id') === id
  return field(wanted, 'name') === name && isOurDomain(field(wanted, 'domain'))
}

function isOurDomain(domain: unknown): boolean {
  if (!isDict(domain)) return domain === undefined
  return field(domain, 'id') === DOMAIN.id || field(domain, 'name') === DOMAIN.name
}

/** A new token. */
export async function issue(user: User, project: Project | null, methods: string[]):
    Promise<Token> {
  const issued = Date.now()
  const token: Token = {
    id: randomBytes(32).toString('hex'),
    userId: user.id,
    projectId: project?.id ?? null,
    methods, issued,
    expires: issued + TOKEN_LIFE,
    auditId: randomUUID(),
  }
  await store().addToken(token)
  return token
}
