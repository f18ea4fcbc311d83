// [app:keystone_app], a mini Keystone: a name and a password in, a token and the catalog
// out. Plain routes and handlers; only the dialect of its errors is its own.

import { randomBytes, randomUUID } from 'node:crypto'
import {
  HTTPBadRequest, HTTPNotFound, HTTPUnauthorized, Middleware, Request, Response, Router,
  type Application, type HTTPException,
} from '../../mini-wsgi.ts'
import { isoMicros } from './common.ts'
import { DOMAIN, PROJECTS, USERS, catalog, serviceCatalog, type Project, type User }
  from './data.ts'
import { Invalid } from './exception.ts'
import { errorFor, logException } from './fault.ts'
import { deserialize, isDict } from './json.ts'
import { store, type Token } from './store.ts'
import { field } from './validation.ts'

const TOKEN_LIFE = 3600_000                                               // milliseconds

/** `paste.app_factory = nova:keystoneFactory` */
export function keystoneFactory(): Application {
  const router = new Router()
  for (const path of ['', '/']) router.get(path, showVersions)
  for (const path of ['/v3', '/v3/']) router.get(path, showVersion)
  router.post('/v3/auth/tokens', createToken)
  router.get('/v3/auth/tokens', showToken)
  router.delete('/v3/auth/tokens', revokeToken)
  router.post('/v2.0/tokens', createTokenV2)
  return new KeystoneErrors(router)
}

// Discovery: the first request of every command.

function versionDocument(req: Request): object {
  return {
    id: 'v3.14',
    status: 'stable',
    updated: '2020-04-07T00:00:00Z',
    links: [{ rel: 'self', href: `${req.applicationUrl}/v3/` }],
    'media-types': [{
      base: 'application/json',
      type: 'application/vnd.openstack.identity-v3+json',
    }],
  }
}

const showVersions = (req: Request): Response =>
  new Response({ status: 300, json: { versions: { values: [versionDocument(req)] } } })

const showVersion = (req: Request): object => ({ version: versionDocument(req) })

// Tokens, v3.

async function createToken(req: Request): Promise<Response> {
  const auth = dict(await readBody(req), 'auth')
  const user = await identify(dict(auth, 'identity'))
  const project = findScope(field(auth, 'scope'), user)
  const token = await issue(user, project, ['password'])
  return new Response({
    status: 201,
    json: { token: viewToken(req, token) },
    headers: [['X-Subject-Token', token.id], ['Vary', 'X-Auth-Token']],
  })
}

async function showToken(req: Request): Promise<Response> {
  const token = await subject(req)
  return new Response({
    json: { token: viewToken(req, token) },
    headers: [['X-Subject-Token', token.id], ['Vary', 'X-Auth-Token']],
  })
}

async function revokeToken(req: Request): Promise<Response> {
  const { id } = await subject(req)
  await store().dropToken(id)
  return new Response({ status: 204 })
}

// Who asks about a token needs one himself; it may be the same.
async function subject(req: Request): Promise<Token> {
  const caller = await store().token(req.headers.get('X-Auth-Token') ?? '')
  if (!caller) throw unauthorized()
  const token = await store().token(req.headers.get('X-Subject-Token') ?? '')
  if (token?.userId === caller.userId) return token
  throw new HTTPNotFound({ explanation: 'Could not find that token.' })
}

function viewToken(req: Request, token: Token): object {
  const user = USERS.find(({ id }) => id === token.userId)
  const project = PROJECTS.find(({ id }) => id === token.projectId)
  return {
    methods: token.methods,
    user: { id: user?.id, name: user?.name, domain: DOMAIN, password_expires_at: null },
    audit_ids: [token.auditId],
    issued_at: isoMicros(token.issued),
    expires_at: isoMicros(token.expires),
    ...(user && project ? viewScope(req, user, project) : {}),
  }
}

// Without a scope there are no roles, and nothing in the catalog.
function viewScope(req: Request, user: User, { id, name }: Project): object {
  return {
    project: { id, name, domain: DOMAIN },
    roles: user.roles.map((role) => ({ id: role, name: role })),
    is_domain: false,
    catalog: catalog(req.hostUrl),
  }
}

// Tokens, v2.0: the request of the articles.

async function createTokenV2(req: Request): Promise<object> {
  const auth = dict(await readBody(req), 'auth')
  const login = dict(auth, 'passwordCredentials')
  const user = USERS.find(({ name }) => name === field(login, 'username'))
  if (!user || user.password !== field(login, 'password')) throw unauthorized()
  const tenant = field(auth, 'tenantName')
  const project = tenant === undefined ? null : findProject({ name: tenant }, user)
  const access = {
    token: viewTokenV2(await issue(user, project, ['password']), project),
    user: viewUserV2(user),
    serviceCatalog: project ? serviceCatalog(req.hostUrl) : [],
  }
  return { access }
}

function viewUserV2({ id, name, roles }: User): object {
  return { id, name, username: name, roles: roles.map((role) => ({ name: role })) }
}

function viewTokenV2({ id, issued, expires }: Token, project: Project | null): object {
  return {
    id,
    issued_at: isoMicros(issued),
    expires: isoMicros(expires),
    ...(project ? { tenant: { ...project, enabled: true, description: null } } : {}),
  }
}

// Finding out who that is. Every failure is the same 401, so that nobody learns which of
// user, password and project was wrong.

const unauthorized = (): HTTPException => new HTTPUnauthorized({
  explanation: 'The request you have made requires authentication.',
})

async function identify(identity: Dict): Promise<User> {
  const methods = field(identity, 'methods')
  if (!Array.isArray(methods)) throw badRequest('"methods" must be a list.')
  if (methods.includes('token')) return await identifyByToken(dict(identity, 'token'))
  if (!methods.includes('password')) throw unauthorized()
  const login = dict(dict(identity, 'password'), 'user')
  const user = USERS.find((candidate) => isNamed(login, candidate))
  if (user && user.password === field(login, 'password')) return user
  throw unauthorized()
}

async function identifyByToken(fields: Dict): Promise<User> {
  const id = field(fields, 'id')
  const token = typeof id === 'string' ? await store().token(id) : null
  const user = USERS.find((candidate) => candidate.id === token?.userId)
  if (user) return user
  throw unauthorized()
}

// No scope at all is legal: a token that says who one is, and opens nothing.
function findScope(scope: unknown, user: User): Project | null {
  if (scope === undefined || scope === 'unscoped') return null
  if (isDict(scope) && field(scope, 'unscoped') !== undefined) return null
  if (!isDict(scope)) throw badRequest('"scope" must be an object.')
  if (field(scope, 'project') === undefined) throw unauthorized()
  return findProject(dict(scope, 'project'), user)
}

function findProject(wanted: Dict, user: User): Project {
  const project = PROJECTS.find((candidate) => isNamed(wanted, candidate))
  if (project && user.projects.includes(project.id)) return project
  throw unauthorized()
}

// By id, or by name in a domain; our only domain may be left out.
function isNamed(wanted: Dict, { id, name }: { id: string; name: string }): boolean {
  if (field(wanted, 'id') !== undefined) return field(wanted, 'id') === id
  return field(wanted, 'name') === name && isOurDomain(field(wanted, 'domain'))
}

function isOurDomain(domain: unknown): boolean {
  if (!isDict(domain)) return domain === undefined
  return field(domain, 'id') === DOMAIN.id || field(domain, 'name') === DOMAIN.name
}

async function issue(user: User, project: Project | null, methods: string[]):
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

// Bodies and errors.

type Dict = Readonly<Record<string, unknown>>

const badRequest = (explanation: string): HTTPException =>
  new HTTPBadRequest({ explanation })

async function readBody(req: Request): Promise<Dict> {
  const body = deserialize(await req.bytes())
  if (isDict(body)) return body
  throw badRequest('The body must be a JSON object.')
}

function dict(fields: Dict, name: string): Dict {
  const found = field(fields, name)
  if (isDict(found)) return found
  throw badRequest(`${JSON.stringify(name)} must be an object.`)
}

/** Keystone's dialect, whatever Accept says: {"error": {"code", "title", "message"}}. */
export class KeystoneErrors extends Middleware {
  override async processRequest(req: Request): Promise<Response> {
    req.environ['HTTP_ACCEPT'] = 'application/json'       // so that errors come as JSON
    const res = await this._call(req)
    const text = res.statusCode < 400 ? '' : await res.text()
    if (!text) return res                                 // no error, or one under HEAD
    const { title, message } = JSON.parse(text) as Record<string, string>
    const error = { code: res.statusCode, title, message: message?.trim() }
    res.body = new TextEncoder().encode(JSON.stringify({ error }))
    return res
  }

  async _call(req: Request): Promise<Response> {
    try {
      return await req.getResponse(this.application)
    } catch (error) {
      if (error instanceof Invalid) {
        return await req.getResponse(errorFor(error.code, error.message))
      }
      logException(req.environ, error)
      return await req.getResponse(errorFor(500))
    }
  }
}
