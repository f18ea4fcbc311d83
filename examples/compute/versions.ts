// The version documents (nova.api.openstack.compute.versions): what clients ask first.

import type { Environ, Request } from '../../mini-wsgi.ts'
import { response, type Method } from './controller.ts'
import { MAX_API_VERSION, MIN_API_VERSION, type OpenStackRequest }
  from './microversion.ts'
import { Resource, type Args } from './wsgi.ts'

export interface Version {
  readonly id: string
  readonly status: string
  readonly version: string
  readonly min_version: string
  readonly updated: string
  readonly links: readonly object[]
  readonly 'media-types': readonly object[]
}

export type VersionTable = Readonly<Record<string, Version>>

export const VERSIONS: VersionTable = {
  'v2.1': {
    id: 'v2.1',
    status: 'CURRENT',
    version: MAX_API_VERSION,
    min_version: MIN_API_VERSION,
    updated: '2013-07-23T11:33:21Z',
    links: [
      { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' },
    ],
    'media-types': [{
      base: 'application/json',
      type: 'application/vnd.openstack.compute+json;version=2.1',
    }],
  },
}

const sorted = (table: VersionTable): Version[] =>
  Object.keys(table).sort().map((key) => table[key] as Version)

const withoutSlash = (url: string): string => url.replace(/\/+$/, '')

// The URL that leads to a version, with what stood behind the catch-all.
function href(req: Request, { id }: Version, path = ''): string {
  const version = id.startsWith('v2.1') ? 'v2.1' : 'v2'
  const rest = path.replace(/^\/+|\/+$/g, '')
  return `${withoutSlash(req.applicationUrl)}/${version}/${rest}`
}

class VersionsController {
  readonly #table: VersionTable

  constructor(table: VersionTable) { this.#table = table }

  index(req: OpenStackRequest): object {
    const versions = sorted(this.#table).map((version) => {
      const { links: _links, 'media-types': _types, ...rest } = version
      return { ...rest, links: [{ rel: 'self', href: href(req, version) }] }
    })
    return { versions }
  }

  readonly multi: Method = response(300)((req: OpenStackRequest) => {
    const choices = sorted(this.#table).map((version) => ({
      id: version.id,
      status: version.status,
      links: [{ rel: 'self', href: href(req, version, req.path) }],
      'media-types': version['media-types'],
    }))
    return { choices }
  })

  show(req: OpenStackRequest): object {
    const version = this.#table[req.environ['openstack.legacy_v2'] ? 'v2.0' : 'v2.1']
    const self = { rel: 'self', href: `${withoutSlash(req.applicationUrl)}/` }
    return { version: { ...version, links: [self, ...version?.links ?? []] } }
  }
}

/** [app:oscomputeversionapp] at `/`: the list of versions; elsewhere 300, the choices. */
export class Versions extends Resource {
  constructor(table: VersionTable = VERSIONS) { super(new VersionsController(table)) }

  static factory(): Versions { return new Versions() }

  // The root document is not under microversion control.
  override _setVersion(): void {}

  override _actionArgs(environ: Environ): Args {
    return { action: environ.PATH_INFO === '/' ? 'index' : 'multi' }
  }
}

/** The document of one version: GET on its mount, SCRIPT_NAME being the mount. */
export class VersionsV2 extends Resource {
  constructor(table: VersionTable = VERSIONS) { super(new VersionsController(table)) }

  override _actionArgs(): Args { return { action: 'show' } }
}
