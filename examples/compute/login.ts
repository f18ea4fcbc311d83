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

/** Who it is, how he has shown that, and when a token that he gets for it expires. */
export interface Login {
  readonly user: User
  readonly methods: readonly string[]
  readonly expires: number
}

/** The user of `methods`: each of them must lead to the same. */
export async function identify(identity: Fields): Promise<Login> {
  const methods = field(identity, 'methods')
  if (!Array.isArray(methods)) throw wrong('methods', 'a list', methods)
  const logins: Login[] = []
  for (const method of new Set<unknown>(methods)) {
    logins.push(await identifyBy(method, identity))
  }
  const [first] = logins
  if (!first || logins.some(({ user }) => user !== first.user)) throw unauthorized()
  return {
    user: first.user,
    methods: logins.flatMap((login) => login.methods),
    expires: Math.min(...logins.map(({ expires }) => expires)),
  }
}

async function identifyBy(method: unknown, identity: Fields): Promise<Login> {
  if (method === 'token') return await identifyByToken(entity(identity, 'token'))
  if (method !== 'password') throw unauthorized()
  return identifyByPassword(entity(entity(identity, 'password'), 'user'))
}

export function identifyByPassword(login: Fields): Login {
  const user = USERS.find((candidate) => isNamed(login, candidate))
  if (!user || user.password !== field(login, 'password')) throw unauthorized()
  return { user, methods: ['password'], expires: Date.now() + TOKEN_LIFE }
}

/** A token for a token lives no longer: or nobody would have to log in again. */
export async function identifyByToken(fields: Fields): Promise<Login> {
  const id = field(fields, 'id')
  const token = typeof id === 'string' ? await store().token(id) : null
  const user = USERS.find((candidate) => candidate.id === token?.userId)
  if (!user || !token) throw unauthorized()
  return { user, methods: ['token'], expires: token.expires }
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
  const id = field(domain, 'id')
  return id === undefined ? field(domain, 'name') === DOMAIN.name : id === DOMAIN.id
}

/** A new token. */
export async function issue({ user, methods, expires }: Login, project: Project | null):
    Promise<Token> {
  const token: Token = {
    id: randomBytes(32).toString('hex'),
    userId: user.id,
    projectId: project?.id ?? null,
    methods, expires,
    issued: Date.now(),
    auditId: randomUUID(),
  }
  await store().addToken(token)
  return token
}
