// The compute API, and the names that api-paste.ini asks for. nova's own layer stands on
// mini-wsgi.ts in the files that this one exports; here are its routes.

import { fileURLToPath } from 'node:url'
import { APIRouter } from './apirouter.ts'
import { ExtensionManager, loadStandardExtensions } from './extensions.ts'
import { ExtraSpecsController, FlavorsController } from './flavors.ts'
import type { ProjectMapper } from './mapper.ts'
import { ServerMetadataController } from './metadata.ts'
import { ServersController } from './servers.ts'
import { VersionsV2 } from './versions.ts'
import { Resource } from './wsgi.ts'

export * from './apirouter.ts'
export * from './auth.ts'
export * from './controller.ts'
export * from './exception.ts'
export * from './extensions.ts'
export * from './fault.ts'
export * from './filters.ts'
export * from './glance.ts'
export * from './json.ts'
export * from './keystone.ts'
export * from './mapper.ts'
export * from './microversion.ts'
export * from './urlmap.ts'
export * from './versions.ts'
export * from './wsgi.ts'
export { pipelineFactory as pipelineFactoryV21 } from '../../mini-wsgi.ts'

/** Every file of contrib/ is an extension. */
export class ComputeExtensionManager extends ExtensionManager {
  override async load(): Promise<this> {
    const folder = fileURLToPath(new URL('./contrib/', import.meta.url))
    await loadStandardExtensions(this, folder)
    return await super.load()
  }
}

/** [app:osapi_compute_app_v21] (nova.api.openstack.compute.APIRouterV21) */
export class APIRouterV21 extends APIRouter {
  static override readonly ExtensionManager: typeof ExtensionManager =
    ComputeExtensionManager

  // Called by the constructor of APIRouter: this class can have no fields of its own.
  override _setupRoutes(mapper: ProjectMapper, _manager: ExtensionManager,
      initOnly?: readonly string[]): void {
    for (const [collection, connect] of Object.entries(CORE)) {
      if (initOnly?.includes(collection) ?? true) {
        this.resources.set(collection, connect(mapper))
      }
    }
  }
}

/** The resources that are no extensions. */
const CORE: Readonly<Record<string, (mapper: ProjectMapper) => Resource>> = {
  versions: connectVersions,
  flavors: connectFlavors,
  servers: connectServers,
  server_metadata: connectMetadata,
}

// A client asks for the mount itself: PATH_INFO is empty, or a slash.
function connectVersions(mapper: ProjectMapper): Resource {
  const controller = new VersionsV2()
  for (const path of ['', '/']) {
    mapper.connect(path, { controller, action: 'index', conditions: { method: ['GET'] } })
  }
  return controller
}

function connectFlavors(mapper: ProjectMapper): Resource {
  const controller = new Resource(new FlavorsController())
  mapper.resource('flavor', 'flavors', { controller, collection: { detail: 'GET' } })
  const specs = new Resource(new ExtraSpecsController())
  mapper.createRoute('/flavors/{flavor_id}/os-extra_specs', 'GET', specs, 'index')
  return controller
}

function connectServers(mapper: ProjectMapper): Resource {
  const controller = new Resource(new ServersController())
  mapper.resource('server', 'servers',
    { controller, collection: { detail: 'GET' }, member: { action: 'POST' } })
  return controller
}

// Written out: `resource` would read the `.json` at the end of a key as a format.
function connectMetadata(mapper: ProjectMapper): Resource {
  const controller = new Resource(new ServerMetadataController())
  const all = '/servers/{server_id}/metadata', one = `${all}/{id}`
  mapper.createRoute(all, 'GET', controller, 'index')
  mapper.createRoute(all, 'POST', controller, 'create')
  mapper.createRoute(all, 'PUT', controller, 'update_all')
  mapper.createRoute(one, 'GET', controller, 'show')
  mapper.createRoute(one, 'PUT', controller, 'update')
  mapper.createRoute(one, 'DELETE', controller, 'delete')
  return controller
}
