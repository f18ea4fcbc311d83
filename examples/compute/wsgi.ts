// Resource: from a match of the router to a method of a controller, and back
// (nova.api.openstack.wsgi). JSON in, JSON out; errors are faults.

import {
  HTTPNotFound, Response, Resource as BaseResource, type Environ, type Request,
} from '../../mini-wsgi.ts'
import { ResponseObject, type Controller, type Marks, type Method, type VersionedMethod }
  from './controller.ts'
import { Invalid, MalformedRequestBody } from './exception.ts'
import { toFault, withVersion } from './fault.ts'
import { bodyOf, deserialize, isDict } from './json.ts'
import { APIVersionRequest, OpenStackRequest, type VersionLimits }
  from './microversion.ts'

/** The arguments of an action: the path variables, and `body` for POST and PUT. */
export type Args = Record<string, unknown>

/** A function and the controller it belongs to: `func.call(self, req, args)`. */
export interface Bound { readonly func: Method & Marks; readonly self: object }

const METHODS_WITH_BODY = ['POST', 'PUT']
const ROUTES_METHODS = ['create', 'delete', 'show', 'update', 'action']

/** What a Resource takes beside its controller. */
export interface ResourceOptions extends VersionLimits {
  /** A Resource whose extensions, and actions from extensions, also count here. */
  readonly inherits?: Resource | undefined
}

/** nova's Resource: an application around a controller. */
export class Resource extends BaseResource {
  readonly #actions = new Map<string, Bound>()
  readonly #extensions = new Map<string, Bound[]>()      // by method, or by `action name`
  readonly #options: ResourceOptions

  constructor(controller: object, options: ResourceOptions = {}) {
    super(controller)
    this.#options = options
    this.registerActions(controller)
  }

  /** Takes over a controller's actions: its table, its names, its marked functions. */
  registerActions(controller: Controller): void {
    const named = controller as Readonly<Record<string, unknown>>
    const add = (name: string, func: unknown): void => {
      if (isMethod(func)) this.#actions.set(name, { func, self: controller })
    }
    const { actions = {}, wsgiActions = {} } = controller
    for (const [name, func] of Object.entries(actions)) add(name, func)
    for (const [name, key] of Object.entries(wsgiActions)) add(name, named[key])
    for (const func of methodsOf(controller)) {
      if (func.wsgiAction) add(func.wsgiAction, func)
    }
  }

  /** A ControllerExtension's functions run around the method that they extend. */
  registerExtensions(controller: Controller): void {
    const add = (key: string, func: Method): void => {
      const list = this.#extensions.get(key) ?? []
      this.#extensions.set(key, [...list, { func, self: controller }])
    }
    const { wsgiExtensions = {}, wsgiActionExtensions: forActions = {} } = controller
    for (const [name, func] of Object.entries(wsgiExtensions)) add(name, func)
    for (const [name, func] of Object.entries(forActions)) add(`action ${name}`, func)
  }

  /** A seam: Versions turns it off, its document has no microversions. */
  _setVersion(req: OpenStackRequest): void { req.setApiVersionRequest(this.#options) }

  /** A seam: what the router found. Versions has no router above it. */
  _actionArgs(environ: Environ): Args {
    const found = environ['wsgiorg.routing_args']?.[1]
    const { controller: _controller, format: _format, ...args } = found ?? {}
    return args
  }

  /** The summary of this class: version, type, method, body, project, call, answer. */
  override async _callAction({ environ }: Request): Promise<unknown> {
    const req = new OpenStackRequest(environ)
    try {
      this._setVersion(req)
      const { action, ...args } = this._actionArgs(environ)
      req.getContentType()                           // throws for one that we do not read
      const body = await bodyOf(req)
      const [bound, extensions] = this.#find(req, String(action), body)
      if (METHODS_WITH_BODY.includes(req.method)) args['body'] = deserialize(body)
      checkProject(req, args)
      const result = await callExtended(bound, extensions, req, args)
      return result instanceof Response ? withVersion(result, req) : result
    } catch (error) {
      return toFault(error, environ)
    }
  }

  // A method of the controller, else one of the actions that extensions have added.
  #find(req: OpenStackRequest, action: string, body: Uint8Array): [Bound, Bound[]] {
    const func = findMethod(this.controller, action, req.apiVersionRequest)
    if (func) return [{ func, self: this.controller }, this.#extensionsOf(action)]
    if (!this.#hasActions() || !ROUTES_METHODS.includes(action)) throw new HTTPNotFound()
    const name = action === 'action' ? actionPeek(body) : action
    const bound = this.#actionOf(name)
    if (!bound) throw new Invalid(`There is no such action: ${name}`)
    return [bound, this.#extensionsOf(`action ${name}`)]
  }

  #hasActions(): boolean {
    const { inherits } = this.#options
    return this.#actions.size > 0 || inherits !== undefined && inherits.#hasActions()
  }

  #actionOf(name: string): Bound | undefined {
    const { inherits } = this.#options
    return this.#actions.get(name) ?? (inherits ? inherits.#actionOf(name) : undefined)
  }

  #extensionsOf(key: string): Bound[] {
    const { inherits } = this.#options
    const parents = inherits ? inherits.#extensionsOf(key) : []
    return [...this.#extensions.get(key) ?? [], ...parents]
  }
}

const isMethod = (value: unknown): value is Method & Marks => typeof value === 'function'

// All functions of an object and its classes, up to what every object has.
function methodsOf(holder: object | null): (Method & Marks)[] {
  if (!holder || holder === Object.prototype) return []
  const own = Object.values(Object.getOwnPropertyDescriptors(holder))
  return [...own.map(({ value }) => value as unknown).filter(isMethod),
    ...methodsOf(Object.getPrototypeOf(holder) as object | null)]
}

// Of its own or of its classes, but never what every object has.
function findMethod(controller: Controller, name: string, version: APIVersionRequest):
    Method | undefined {
  const versions = controller.versionedMethods ?? {}
  if (Object.hasOwn(versions, name)) return selectVersion(versions[name] ?? [], version)
  if (/^(_|constructor$)/.test(name)) return undefined
  const found: unknown = Reflect.get(controller, name)
  const isOwn = found !== Reflect.get(Object.prototype, name)
  return isOwn && isMethod(found) ? found : undefined
}

// nova's version_select: to the client, a method without that version does not exist.
function selectVersion(list: readonly VersionedMethod[], version: APIVersionRequest):
    Method {
  const found = list.find(({ min, max }) =>
    version.matches(new APIVersionRequest(min), new APIVersionRequest(max)))
  if (found) return found.func
  throw new HTTPNotFound()
}

/** The name of the action: the one key of the body. */
function actionPeek(body: Uint8Array): string {
  const decoded = deserialize(body)
  const names = isDict(decoded) ? Object.keys(decoded) : []
  if (names.length !== 1) throw new MalformedRequestBody()
  return String(names[0])
}

// /v2.1/{project_id}/servers is still read, but only for the project of the token.
function checkProject(req: OpenStackRequest, args: Args): void {
  const wanted = args['project_id']
  delete args['project_id']
  const context = req.environ['nova.context'] as { projectId: string | null } | undefined
  if (!context || !wanted || wanted === context.projectId) return
  throw new Invalid(`Malformed request URL: URL's project_id '${String(wanted)}' ` +
    `doesn't match Context's project_id '${context.projectId}'`)
}

type After = (respObj: ResponseObject) => unknown
type Steps = AsyncGenerator<unknown, unknown, ResponseObject>

// The method between its extensions: generators run before and after, functions after.
async function callExtended(bound: Bound, extensions: Bound[], req: OpenStackRequest,
    args: Args): Promise<unknown> {
  const after: After[] = []
  for (const { func, self } of extensions) {
    if (!/Generator/.test(Object.prototype.toString.call(func))) {
      after.unshift((respObj) => func.call(self, req, { ...args, respObj } as never))
      continue
    }
    const steps = func.call(self, req, args as never) as Steps
    const early = await steps.next()
    if (early.value) return early.value
    after.unshift(async (respObj) => (await steps.next(respObj)).value)
  }
  const result = await bound.func.call(bound.self, req, args as never)
  if (!isResult(result)) return result
  return await finish(req, result, bound.func.wsgiCode, after)
}

async function finish(req: OpenStackRequest, result: unknown, code: number | undefined,
    after: After[]): Promise<unknown> {
  const respObj = result instanceof ResponseObject ? result : new ResponseObject(result)
  if (code) respObj.defaultCode = code
  for (const step of after) {
    const other = await step(respObj)
    if (other) return other
  }
  return respObj.serialize(req, req.bestMatchContentType())
}

// Everything else (a Response, a string, an application) is wsgify's business.
function isResult(value: unknown): boolean {
  if (value === null || value === undefined) return true
  if (value instanceof ResponseObject) return true
  const proto = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined
  return proto === null || proto === Object.prototype
}
