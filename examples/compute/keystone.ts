// [app:keystone_app], a mini Keystone: a name and a password in, a token and the catalog
// out. Plain routes and handlers; only the dialect of its errors is its own.

import {
  HTTPNotFound, Middleware, Request, Response, Router, type Application,
} from '../../mini-wsgi.ts'
import { isoMicros } from './common.ts'
import { DOMAIN, PROJECTS, USERS, catalog, serviceCatalog, type Project, type User }
  from './data.ts'
import { Invalid } from './exception.ts'
import { errorFor, logException } from './fault.ts'
import { bodyOf, deserialize } from './json.ts'
import {
  findProject, findScope, identify, identifyByPassword, identifyByToken, issue,
  unauthorized, type Login,
} from './login.ts'
import { store, type Token } from './store.ts'
import { entity, field, type Fields } from './validation.ts'

/** `paste.app_factory = nova:keystoneFactory` */
export function keystoneFactory(): Application {
  const router = new Router()
  for (const path of ['', '/']) router.get(path, showVersions)
  for (const path of ['/v3', '/v3/']) router.get(path, showVersion)
  router.post('/v3/auth/tokens', createToken)
  router.get('/v3/auth/tokens', showToken)
  router.delete('/v3/auth/tokens', revokeToken)
  router.post('/v2.0/tokens', createTokenV2)
  return router
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
  const auth = entity(deserialize(await bodyOf(req)), 'auth')
  const login = await identify(entity(auth, 'identity'))
  const token = await issue(login, findScope(field(auth, 'scope'), login.user))
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
  const auth = entity(deserialize(await bodyOf(req)), 'auth')
  const login = await identifyV2(auth)
  const { user } = login
  const tenant = { name: field(auth, 'tenantName'), id: field(auth, 'tenantId') }
  const project = tenant.name ?? tenant.id ? findProject(tenant, user) : null
  const access = {
    token: viewTokenV2(await issue(login, project), project),
    user: viewUserV2(user),
    serviceCatalog: project ? serviceCatalog(req.hostUrl) : [],
  }
  return { access }
}

async function identifyV2(auth: Fields): Promise<Login> {
  if (field(auth, 'token') !== undefined) return identifyByToken(entity(auth, 'token'))
  const { username: name, password } = entity(auth, 'passwordCredentials')
  return identifyByPassword({ name, password })
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

/**
 * [filter:keystone_errors]: whatever Accept says, an error is in Keystone's dialect,
 * {"error": {"code", "title", "message"}}.
 */
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
        const { code, message } = error
        return new Response({ status: code, json: { title: errorFor(code).title, message } })
      }
      logException(req.environ, error)
      return await req.getResponse(errorFor(500))
    }
  }
}
