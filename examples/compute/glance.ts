// [app:glance_app], a mini Glance: the images that a server can be made from. It is built
// like the compute API, of a mapper, controllers and faults, without microversions.

import { HTTPNotFound, Response, type Application, type Request }
  from '../../mini-wsgi.ts'
import { paginate } from './common.ts'
import { IMAGES, PROJECTS, type Image } from './data.ts'
import { APIMapper, FaultRouter } from './mapper.ts'
import type { OpenStackRequest } from './microversion.ts'
import { Resource } from './wsgi.ts'

/** `paste.app_factory = nova:glanceFactory` */
export function glanceFactory(): Application {
  const mapper = new APIMapper()
  const controller = new ImageResource(new ImageVersionsController())
  for (const path of ['', '/', '/v2', '/v2/']) {
    mapper.connect(path, { controller, action: 'index', conditions: { method: ['GET'] } })
  }
  const images = new ImageResource(new ImagesController())
  mapper.resource('image', 'images', { controller: images, pathPrefix: '/v2' })
  return new FaultRouter(mapper)
}

class ImageResource extends Resource {
  override _setVersion(): void {}
}

/** 300, as glance answers; without this document the SDK refuses the service. */
class ImageVersionsController {
  index(req: Request): Response {
    const links = [{ rel: 'self', href: `${req.applicationUrl}/v2/` }]
    const version = { id: 'v2.9', status: 'CURRENT', links }
    return new Response({ status: 300, json: { versions: [version] } })
  }
}

class ImagesController {
  index(req: OpenStackRequest): object {
    const { items, next } = paginate(req, search(req), 'v2/images')
    const href = next[0]?.href.slice(req.applicationUrl.length)
    return {
      images: items.map(viewImage),
      schema: '/v2/schemas/images',
      first: '/v2/images',
      ...(href ? { next: href } : {}),
    }
  }

  // By id alone: a client that has a name gets a 404, and asks for ?name=.
  show(_req: unknown, { id }: { id: string }): object {
    const image = IMAGES.find((candidate) => candidate.id === id)
    if (!image) throw new HTTPNotFound({ explanation: `No image found with ID ${id}` })
    return viewImage(image)
  }
}

// There are no hidden images, and all are public and active.
function search({ GET: query }: OpenStackRequest): readonly Image[] {
  const name = query.get('name')
  if (/^true$/i.test(query.get('os_hidden') ?? '')) return []
  if (query.get('status') !== null && query.get('status') !== 'active') return []
  return name === null ? IMAGES : IMAGES.filter((image) => image.name === name)
}

function viewImage(image: Image): object {
  return {
    id: image.id,
    name: image.name,
    status: 'active',
    visibility: 'public',
    protected: false,
    os_hidden: false,
    container_format: 'bare',
    disk_format: 'qcow2',
    size: image.size,
    min_disk: image.minDisk,
    min_ram: image.minRam,
    owner: PROJECTS[1]?.id,
    checksum: image.checksum,
    created_at: '2024-01-01T00:00:00Z',
    updated_at: '2024-01-01T00:00:00Z',
    tags: [],
    file: `/v2/images/${image.id}/file`,
    self: `/v2/images/${image.id}`,
    schema: '/v2/schemas/image',
  }
}
