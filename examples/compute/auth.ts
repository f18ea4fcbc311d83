// Who is asking: keystone's authtoken and nova's two context makers (keystonemiddleware,
// nova.api.auth, nova.api.openstack.auth). `auth_strategy` chooses between them.

import {
  HTTPForbidden, HTTPUnauthorized, Middleware, Response, type Environ, type Request,
} from '../../mini-wsgi.ts'
import { PROJECTS, USERS } from './data.ts'
import { Fault } from './fault.ts'
import { store, type Token } from './store.ts'

/** `environ['nova.context']`: for whom a request is made. */
export interface RequestContext {
  readonly userId: string
  readonly projectId: string | null
  readonly roles: readonly string[]
  readonly isAdmin: boolean
  readonly requestId: string | undefined
  readonly remoteAddress: string | undefined
}

/** The context that a filter of this file has left. */
export function contextOf(req: Request): RequestContext {
  const context = req.environ['nova.context'] as RequestContext | undefined
  if (!context) throw new HTTPUnauthorized()
  return context
}

/** The project of the request: everything that nova keeps belongs to one. */
export function projectOf(req: Request): string {
  const { projectId } = contextOf(req)
  if (projectId) return projectId
  throw new HTTPForbidden({ explanation: 'This needs a token of a project.' })
}

/** Version discovery: clients ask for the mount itself, before they have a token. */
const isDiscovery = (req: Request): boolean =>
  (req.method === 'GET' || req.method === 'HEAD') && ['', '/'].includes(req.pathInfo)

// What authtoken sets, and what nobody else may: a client that sends one is lying.
const IDENTITY_HEADER = new RegExp('^HTTP_X_(SERVICE_)?(IDENTITY_STATUS|SERVICE_CATALOG' +
  '|ROLES?|(USER|PROJECT|DOMAIN|TENANT)(_DOMAIN)?(_ID|_NAME)?|IS_ADMIN_PROJECT)$')

/**
 * [filter:authtoken]: asks keystone about X-Auth-Token, writes the answer into headers;
 * `delay_auth_decision = true` lets the app decide what an unknown caller may.
 */
export class AuthToken extends Middleware {
  override async processRequest(req: Request): Promise<Fault | undefined> {
    for (const key of Object.keys(req.environ)) {
      if (IDENTITY_HEADER.test(key)) delete req.environ[key]
    }
    const id = req.headers.get('X-Auth-Token')
    const token = id ? await store().token(id) : null
    const isDelayed = /^(1|yes|on|true)$/i.test(String(this.options['delayAuthDecision']))
    if (!token && !isDelayed && !isDiscovery(req)) return unauthorized(req)
    Object.assign(req.environ,
      token ? identityHeaders(token) : { HTTP_X_IDENTITY_STATUS: 'Invalid' })
    return undefined
  }
}

function identityHeaders(token: Token): Partial<Environ> {
  const user = USERS.find(({ id }) => id === token.userId)
  const project = PROJECTS.find(({ id }) => id === token.projectId)
  return {
    HTTP_X_IDENTITY_STATUS: 'Confirmed',
    HTTP_X_USER_ID: token.userId,
    HTTP_X_USER_NAME: user?.name,
    HTTP_X_ROLES: user?.roles.join(','),
    HTTP_X_PROJECT_ID: project?.id,
    HTTP_X_PROJECT_NAME: project?.name,
  }
}

const unauthorized = (req: Request): Fault => new Fault(new HTTPUnauthorized({
  explanation: 'The request you have made requires authentication.',
  headers: [['WWW-Authenticate', `Keystone uri="${req.hostUrl}/identity"`]],
}))

type Who = Pick<RequestContext, 'userId' | 'projectId' | 'roles'>

function makeContext(req: Request, who: Who): RequestContext {
  return {
    ...who,
    isAdmin: who.roles.includes('admin'),
    requestId: req.environ['openstack.request_id'] as string | undefined,
    remoteAddress: req.environ.REMOTE_ADDR,
  }
}

/** [filter:keystonecontext]: from authtoken's headers, or older names, to nova.context. */
export class NovaKeystoneContext extends Middleware {
  override processRequest(req: Request): Fault | undefined {
    const { headers } = req
    const userId = headers.get('X-User-Id') ?? headers.get('X-User')
    if (!userId) return isDiscovery(req) ? undefined : unauthorized(req)
    const projectId = headers.get('X-Project-Id') ?? headers.get('X-Tenant-Id')
    const roles = (headers.get('X-Roles') ?? headers.get('X-Role') ?? '').split(',')
      .map((role) => role.trim()).filter(Boolean)
    req.environ['nova.context'] = makeContext(req, { userId, projectId, roles })
    return undefined
  }
}

/** [filter:noauth2]: the token is `user:project`, and who has none is given one. */
export class NoAuthMiddleware extends Middleware {
  override processRequest(req: Request): Response | undefined {
    const token = req.headers.get('X-Auth-Token')
    if (token === null) return this._login(req)
    const [userId = '', projectId = ''] = token.split(/:(.*)/s)
    const roles = userId === 'admin' ? ['admin'] : ['member']
    req.environ['nova.context'] =
      makeContext(req, { userId, projectId: projectId || userId, roles })
    return undefined
  }

  _login(req: Request): Response {
    const user = req.headers.get('X-Auth-User') ?? 'admin'
    const project = req.headers.get('X-Auth-Project-Id') ?? 'admin'
    const res = new Response({ status: 204 })
    res.headers.set('X-Auth-Token', `${user}:${project}`)
    const url = req.url.replace(/\/+$/, '')
    res.headers.set('X-Server-Management-Url', `${url}/${project}`)
    return res
  }
}
