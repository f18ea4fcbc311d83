// GET /flavors, /flavors/detail, /flavors/{id}, /flavors/{id}/os-extra_specs

import { HTTPNotFound } from '../../mini-wsgi.ts'
import { links, paginate } from './common.ts'
import { expectedErrors, type Method } from './controller.ts'
import { FLAVORS, type Flavor } from './data.ts'
import type { OpenStackRequest } from './microversion.ts'

/** Every flavor is public, so `is_public` changes nothing. */
export class FlavorsController {
  readonly index: Method = expectedErrors(400)((req: OpenStackRequest) => {
    const { items, next } = paginate(req, FLAVORS, 'flavors')
    const flavors = items.map(({ id, name }) =>
      ({ id, name, links: links(req, 'flavors', id) }))
    return { flavors, ...(next.length ? { flavors_links: next } : {}) }
  })

  readonly detail: Method = expectedErrors(400)((req: OpenStackRequest) => {
    const { items, next } = paginate(req, FLAVORS, 'flavors/detail')
    const flavors = items.map((flavor) => viewFlavor(req, flavor))
    return { flavors, ...(next.length ? { flavors_links: next } : {}) }
  })

  readonly show: Method = expectedErrors(404)(
    (req: OpenStackRequest, { id }: { id: string }) =>
      ({ flavor: viewFlavor(req, findFlavor(id)) }))
}

/** No flavor here has any. */
export class ExtraSpecsController {
  readonly index: Method = expectedErrors(404)(
    (_req: OpenStackRequest, { flavor_id: id }: { flavor_id: string }) =>
      findFlavor(id) && { extra_specs: {} })
}

// By id alone: a client that has a name gets a 404, and looks through the list.
function findFlavor(id: string): Flavor {
  const flavor = FLAVORS.find((candidate) => candidate.id === id)
  if (flavor) return flavor
  throw new HTTPNotFound({ explanation: `Flavor ${id} could not be found.` })
}

function viewFlavor(req: OpenStackRequest, flavor: Flavor): object {
  return {
    ...flavor,
    swap: '',
    rxtx_factor: 1.0,
    'OS-FLV-EXT-DATA:ephemeral': 0,
    'OS-FLV-DISABLED:disabled': false,
    'os-flavor-access:is_public': true,
    links: links(req, 'flavors', flavor.id),
  }
}
