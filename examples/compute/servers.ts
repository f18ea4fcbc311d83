// /servers: the controller that the articles follow a request to (Controller.create).

import { randomBytes } from 'node:crypto'
import { HTTPBadRequest, type HTTPException } from '../../mini-wsgi.ts'
import { contextOf, projectOf } from './auth.ts'
import { links, noContent, paginate } from './common.ts'
import { action, expectedErrors, response, ResponseObject, type Method }
  from './controller.ts'
import { FLAVORS, IMAGES } from './data.ts'
import { isDict } from './json.ts'
import type { OpenStackRequest } from './microversion.ts'
import { search } from './search.ts'
import {
  orHTTPError, store, type Server, type ServerAction, type ServerChange,
  type ServerRequest, type ServerSummary,
} from './store.ts'
import {
  checkChoice, checkInteger, checkMetadata, checkName, checkText, entity, field, wrong,
  type Fields,
} from './validation.ts'
import { viewBasic, viewServer } from './views.ts'

/** Servers per project: what is in memory has to end somewhere. */
const QUOTA = 1000

interface One { id: string }
interface WithBody { body: unknown }

export class ServersController {
  readonly index: Method = expectedErrors([400, 403])((req: OpenStackRequest) =>
    list(req, 'servers', async (found) => found.map((one) => viewBasic(req, one))))

  readonly detail: Method = expectedErrors([400, 403])((req: OpenStackRequest) =>
    list(req, 'servers/detail', async (found) => {
      const ids = found.map(({ id }) => id)
      const servers = await store().serversById(projectOf(req), ids)
      cacheServers(req, servers)
      return servers.map((server) => viewServer(req, server))
    }))

  readonly show: Method = expectedErrors([403, 404])(
    async (req: OpenStackRequest, { id }: One) =>
      viewOne(req, await getServer(req, id)))

  readonly create: Method = response(202)(expectedErrors([400, 403])(
    async (req: OpenStackRequest, { body }: WithBody) => {
      const fields = entity(body, 'server')
      const count = readCount(fields)
      const wanted = readServer(req, fields)
      if (count > 1) checkName(`${wanted.name}-${count}`, 'name')
      await checkKeyName(req, wanted.keyName)
      return accepted(req, await store().createServers(wanted, count, QUOTA))
    }))

  readonly update: Method = expectedErrors([400, 403, 404])(
    async (req: OpenStackRequest, { id, body }: One & WithBody) => {
      const fields = entity(body, 'server')
      const change = readChange(req, fields)
      const server = await orHTTPError(store().changeServer(projectOf(req), id, change))
      return viewOne(req, server)
    })

  readonly delete: Method = expectedErrors([403, 404, 409])(
    async (req: OpenStackRequest, { id }: One) => {
      await orHTTPError(store().deleteServer(projectOf(req), id))
      return noContent()
    })

  // POST /servers/{id}/action: the key of the body names one of these.
  readonly _stop: Method = action('os-stop')(perform('stop'))
  readonly _start: Method = action('os-start')(perform('start'))
  readonly _reboot: Method = action('reboot')(perform('reboot'))
}

// Only what the body names is changed.
function readChange(req: OpenStackRequest, fields: Fields): ServerChange {
  const name = field(fields, 'name')
  return {
    ...(name === undefined ? {} : { name: checkName(name, 'name') }),
    ...('description' in fields && req.speaks('2.19')
      ? { description: readDescription(req, fields) } : {}),
  }
}

// Servers may be large, and the store in another process: a whole one comes from there
// only if it is on the page. The search stays here, where it holds up nobody else.
async function list(req: OpenStackRequest, path: string,
    view: (found: ServerSummary[]) => Promise<object[]>): Promise<object> {
  const found = search(req, await store().servers(projectOf(req)))
  const { items, next } = paginate(req, found, path)
  const servers = await view(items)
  return { servers, ...(next.length ? { servers_links: next } : {}) }
}

function viewOne(req: OpenStackRequest, server: Server): object {
  cacheServers(req, [server])
  return { server: viewServer(req, server) }
}

// For the extensions that add to a view (nova's req.cache_db_instances).
function cacheServers(req: OpenStackRequest, servers: Server[]): void {
  req.environ['nova.db_instances'] = new Map(servers.map((server) => [server.id, server]))
}

/** The record that this request has made a view of. */
export const cachedServer = (req: OpenStackRequest, id: string): Server | undefined =>
  (req.environ['nova.db_instances'] as Map<string, Server> | undefined)?.get(id)

/** The server of that id, in the project of the request. */
export const getServer = (req: OpenStackRequest, id: string): Promise<Server> =>
  orHTTPError(store().server(projectOf(req), id))

const badRequest = (explanation: string): HTTPException =>
  new HTTPBadRequest({ explanation })

// What the client does not know yet: the id, where to look, the password.
function accepted(req: OpenStackRequest, server: Server): ResponseObject {
  const view = {
    id: server.id,
    links: links(req, 'servers', server.id),
    'OS-DCF:diskConfig': server.diskConfig,
    security_groups: [{ name: 'default' }],
    adminPass: randomBytes(9).toString('base64url'),
  }
  const location = view.links[0]?.href ?? ''
  return new ResponseObject({ server: view }, { headers: { location } })
}

/** As many as there may be: here, there is room for all. */
function readCount(fields: Fields): number {
  const min = checkInteger(field(fields, 'min_count') ?? 1, 'min_count', 1, QUOTA)
  const max = checkInteger(field(fields, 'max_count') ?? min, 'max_count', 1, QUOTA)
  if (min <= max) return max
  throw badRequest('min_count must not be above max_count.')
}

function readServer(req: OpenStackRequest, fields: Fields): ServerRequest {
  return {
    projectId: projectOf(req),
    userId: contextOf(req).userId,
    name: checkName(field(fields, 'name'), 'name'),
    description: readDescription(req, fields),
    flavorId: readFlavor(field(fields, 'flavorRef')),
    imageId: readImage(field(fields, 'imageRef')),
    keyName: checkText(field(fields, 'key_name'), 'key_name'),
    diskConfig: checkChoice(field(fields, 'OS-DCF:diskConfig') ?? 'MANUAL',
      'OS-DCF:diskConfig', ['MANUAL', 'AUTO']),
    metadata: checkMetadata(field(fields, 'metadata') ?? {}),
    network: readNetworks(field(fields, 'networks')),
  }
}

const readDescription = (req: OpenStackRequest, fields: Fields): string | null =>
  req.speaks('2.19') ? checkText(field(fields, 'description'), 'description') : null

// An id may be the number of it, as old clients send it.
function readFlavor(value: unknown): string {
  const ref = checkName(typeof value === 'number' ? String(value) : value, 'flavorRef')
  if (FLAVORS.some(({ id }) => id === ref)) return ref
  throw badRequest(`Flavor ${ref} could not be found.`)
}

function readImage(value: unknown): string {
  const ref = checkName(value, 'imageRef')
  if (IMAGES.some(({ id }) => id === ref)) return ref
  throw badRequest(`Image ${ref} could not be found.`)
}

async function checkKeyName(req: OpenStackRequest, name: string | null): Promise<void> {
  const keys = name === null ? [] : await store().keypairs(contextOf(req).userId)
  if (name === null || keys.some((key) => key.name === name)) return
  throw badRequest(`Keypair ${name} could not be found.`)
}

// There is one network, `private`: with it, or without.
function readNetworks(value: unknown): boolean {
  if (value === undefined || value === 'auto') return true
  if (value === 'none') return false
  if (Array.isArray(value) && value.every(isDict)) return true
  throw wrong('networks', '"auto", "none" or a list of objects', value)
}

function perform(name: ServerAction): Method {
  return response(202)(expectedErrors([400, 403, 404, 409])(
    async (req: OpenStackRequest, { id, body }: One & WithBody) => {
      const hard = name === 'reboot' && readReboot(body as Fields) === 'HARD'
      await orHTTPError(store().act(projectOf(req), id, hard ? 'reboot_hard' : name))
    }))
}

function readReboot(body: Fields): 'SOFT' | 'HARD' {
  const type = field(entity(body, 'reboot'), 'type')
  const upper = typeof type === 'string' ? type.toUpperCase() : type
  return checkChoice(upper, 'type', ['SOFT', 'HARD'])
}
