// nova's mappers and routers (nova.api.openstack): Routes, with the habits of its URLs.

import {
  HTTPNotFound, Mapper, Router as BaseRouter, wsgify,
  type Application, type ResourceOptions, type Route, type RouteOptions,
} from '../../mini-wsgi.ts'
import { Fault } from './fault.ts'
import { OpenStackRequest } from './microversion.ts'

/** A format extension is json or xml, so that it does not eat the dots of `m1.tiny`. */
export class APIMapper extends Mapper {
  override _makeRoute(name: string | null, path: string, options?: RouteOptions): Route {
    const given = options?.requirements
    const requirements = { ...given, format: given?.['format'] || 'json|xml' }
    return super._makeRoute(name, path, { ...options, requirements })
  }
}

/** Hex with dashes: what keystone makes, and what no collection is called. */
const PROJECT_ID = '{project_id:[0-9a-f-]+}'

/** Every resource twice: below its project, as it used to be, and without. */
export class ProjectMapper extends APIMapper {
  override resource(member: string, collection: string, options?: ResourceOptions): void {
    const under = parentPath(options)
    const pathPrefix = under ? `${PROJECT_ID}/${under}` : `${PROJECT_ID}/`
    super.resource(member, collection, { ...options, pathPrefix })
    super.resource(member, collection, { ...options, pathPrefix: under })
  }

  /** One route for one method, with and without the project: `/servers/{id}/x`. */
  createRoute(path: string, method: string, controller: Application, action: string):
      void {
    const options = { controller, action, conditions: { method: [method] } }
    this.connect(`/${PROJECT_ID}${path}`, options)
    this.connect(path, options)
  }
}

/** Without projects in the URL at all. */
export class PlainMapper extends APIMapper {
  override resource(member: string, collection: string, options?: ResourceOptions): void {
    const pathPrefix = parentPath(options) ?? options?.pathPrefix
    super.resource(member, collection, { ...options, pathPrefix })
  }
}

// servers/:server_id for a resource whose parent is a server.
function parentPath(options: ResourceOptions = {}): string | undefined {
  const { parentResource: parent } = options
  return parent ? `${parent.collectionName}/:${parent.memberName}_id` : undefined
}

/** nova.wsgi.Router: what does not match is a plain 404, whatever the method. */
export class Router extends BaseRouter {
  constructor(mapper?: Mapper) { super(mapper, { methodNotAllowed: false }) }
}

/** The same, but the 404 is a fault: clients of the API read JSON and nothing else. */
export class FaultRouter extends Router {
  static override readonly _dispatch: typeof BaseRouter._dispatch = wsgify((req) =>
    req.urlvars['controller'] ?? notFound(new OpenStackRequest(req.environ)))
}

// A 404 speaks the microversion of the request, if that is one.
function notFound(req: OpenStackRequest): Fault {
  try { req.setApiVersionRequest() } catch { /* the 404 is the better answer */ }
  return new Fault(new HTTPNotFound())
}
