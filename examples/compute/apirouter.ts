// APIRouter (nova.api.openstack): the core routes, then those of the extensions, then
// what extensions add to resources that are already there.

import type { Application, Conf, Mapper } from '../../mini-wsgi.ts'
import type { ControllerExtension, ExtensionManager, ResourceExtension }
  from './extensions.ts'
import { FaultRouter, ProjectMapper } from './mapper.ts'
import { Resource } from './wsgi.ts'

type ManagerClass = new () => ExtensionManager

/** Subclasses say which extensions (`ExtensionManager`) and routes (`_setupRoutes`). */
export class APIRouter extends FaultRouter {
  static ExtensionManager: ManagerClass | null = null

  /** By collection: what extensions extend, and inherit from. */
  readonly resources: Map<string, Resource> = new Map()

  /** `paste.app_factory = nova:APIRouterV21.factory`; extensions are imported here. */
  static async factory(_globalConf: Conf, _localConf: Conf): Promise<Application> {
    const manager = this.ExtensionManager && await new this.ExtensionManager().load()
    return new this(manager)
  }

  /** `initOnly` leaves out every collection that it does not name: for tests. */
  constructor(manager?: ExtensionManager | null, initOnly?: readonly string[]) {
    const Manager = new.target.ExtensionManager
    const extMgr = manager ?? (Manager && new Manager())
    if (!extMgr) {
      throw new Error(`${new.target.name} has no extensions: set its static ` +
        'ExtensionManager, or pass one to the constructor')
    }
    const mapper = new ProjectMapper()
    super(mapper)
    this._setupRoutes(mapper, extMgr, initOnly)
    this._setupExtRoutes(mapper, extMgr, initOnly)
    this._setupExtensions(extMgr)
  }

  _setupRoutes(_mapper: ProjectMapper, _manager: ExtensionManager,
      _initOnly?: readonly string[]): void {
    throw new Error(`${this.constructor.name} has no _setupRoutes; it is where an API ` +
      'connects its own resources')
  }

  _setupExtRoutes(mapper: ProjectMapper, manager: ExtensionManager,
      initOnly?: readonly string[]): void {
    for (const extension of manager.getResources()) {
      const wanted = initOnly?.includes(extension.collection) ?? true
      if (wanted) this._connect(mapper, extension)
    }
  }

  _connect(mapper: Mapper, extension: ResourceExtension): void {
    const inherits = this.resources.get(extension.inherits ?? '')
    const resource = new Resource(controllerOf(extension, inherits), { inherits })
    this.resources.set(extension.collection, resource)
    mapper.resource(extension.collection, extension.collection, {
      controller: resource,
      collection: extension.collectionActions,
      member: extension.memberActions,
      parentResource: extension.parent,
    })
    extension.customRoutesFn?.(mapper, resource)
  }

  _setupExtensions(manager: ExtensionManager): void {
    for (const extension of manager.getControllerExtensions()) this._extend(extension)
  }

  _extend({ extension, collection, controller }: ControllerExtension): void {
    const resource = this.resources.get(collection)
    if (!resource) {
      console.warn(`Extension ${JSON.stringify(extension.alias)} extends ` +
        `${JSON.stringify(collection)}, which is not there; that part is left out`)
      return
    }
    resource.registerActions(controller)
    resource.registerExtensions(controller)
  }
}

function controllerOf(extension: ResourceExtension, inherits?: Resource): object {
  const controller = extension.controller ?? inherits?.controller
  if (controller) return controller
  throw new Error(`The collection ${JSON.stringify(extension.collection)} has no ` +
    'controller; give it one, or the name of another that it inherits from')
}
