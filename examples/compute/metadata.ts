// /servers/{server_id}/metadata (nova.api.openstack.compute.server_metadata)

import { HTTPBadRequest, HTTPNotFound, type HTTPException } from '../../mini-wsgi.ts'
import { projectOf } from './auth.ts'
import { noContent } from './common.ts'
import { expectedErrors, type Method } from './controller.ts'
import type { OpenStackRequest } from './microversion.ts'
import { getServer } from './servers.ts'
import { orHTTPError, store, type Metadata, type Server } from './store.ts'
import { MAX_METADATA, checkMetadata, entity } from './validation.ts'

interface OfServer { server_id: string }
interface OfItem extends OfServer { id: string }
interface WithBody { body: unknown }

export class ServerMetadataController {
  readonly index: Method = expectedErrors([403, 404])(
    async (req: OpenStackRequest, { server_id: id }: OfServer) =>
      viewMetadata(await getServer(req, id)))

  /** Adds to what is there. */
  readonly create: Method = expectedErrors([400, 403, 404])(
    async (req: OpenStackRequest, { server_id: id, body }: OfServer & WithBody) =>
      viewMetadata(await merge(req, id, checkMetadata(entity(body, 'metadata')))))

  /** Replaces what is there. */
  readonly update_all: Method = expectedErrors([400, 403, 404])(
    async (req: OpenStackRequest, { server_id: id, body }: OfServer & WithBody) => {
      const metadata = checkMetadata(entity(body, 'metadata'))
      const change = store().changeServer(projectOf(req), id, { metadata })
      return viewMetadata(await orHTTPError(change))
    })

  readonly show: Method = expectedErrors([403, 404])(
    async (req: OpenStackRequest, { server_id: serverId, id }: OfItem) => {
      const { metadata } = await getServer(req, serverId)
      const item = metadata.find(([key]) => key === id)
      if (item) return { meta: Object.fromEntries([item]) }
      throw new HTTPNotFound({ explanation: 'Metadata item was not found' })
    })

  /** One item: the key in the body is the key in the URL. */
  readonly update: Method = expectedErrors([400, 403, 404])(
    async (req: OpenStackRequest, args: OfItem & WithBody) => {
      const { server_id: serverId, id, body } = args
      const item = checkMetadata(entity(body, 'meta'), 'meta')
      if (item.length !== 1 || item[0]?.[0] !== id) throw differs()
      await merge(req, serverId, item)
      return { meta: Object.fromEntries(item) }
    })

  readonly delete: Method = expectedErrors([403, 404])(
    async (req: OpenStackRequest, { server_id: serverId, id }: OfItem) => {
      await orHTTPError(store().dropMetadata(projectOf(req), serverId, id))
      return noContent()
    })
}

const merge = (req: OpenStackRequest, id: string, metadata: Metadata): Promise<Server> =>
  orHTTPError(store().mergeMetadata(projectOf(req), id, metadata, MAX_METADATA))

const viewMetadata = ({ metadata }: Server): object =>
  ({ metadata: Object.fromEntries(metadata) })

const differs = (): HTTPException => new HTTPBadRequest({
  explanation: '"meta" must have one item, whose key is the key in the URL.',
})
