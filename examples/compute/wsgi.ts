// Resource: from a match of the router to a method of a controller, and back
// (nova.api.openstack.wsgi). JSON in, JSON out; errors are faults.

import {
  HTTPBadRequest, HTTPException, HTTPInternalServerError, HTTPNotFound, Response,
  Resource as BaseResource, type Environ, type Request,
} from '../../mini-wsgi.ts'
import {
  Forbidden, Invalid, MalformedRequestBody, NotSupported, Unauthorized, ValidationError,
} from './exception.ts'
import { logException, toFault, withVersion } from './fault.ts'
import { APIVersionRequest, OpenStackRequest, type VersionLimits }
  from './microversion.ts'

/** The arguments of an action: the path variables, and `body` for POST and PUT. */
export type Args = Record<string, unknown>

/** An action: `show(req, { id })`. Each declares the arguments it needs. */
export type Method = (req: OpenStackRequest, args: never) => unknown

/** One of several implementations of an action, chosen by microversion. */
export interface VersionedMethod {
  readonly min: string
  readonly max?: string | undefined
  readonly func: Method
}

export type Table<T> = Readonly<Record<string, T>>

/** What a controller may have beside its methods. */
export interface Controller {
  readonly actions?: Table<Method>                 // by name in the body: a function
  readonly wsgiActions?: Table<string>             // by name in the body: a method's name
  readonly versionedMethods?: Table<readonly VersionedMethod[]>
  readonly wsgiExtensions?: Table<Method>          // by the method that is extended
  readonly wsgiActionExtensions?: Table<Method>    // by the action that is extended
}

// What the decorators below leave on a function.
interface Marks { wsgiCode?: number; wsgiAction?: string }

/** `@wsgi.response(202)`: the status of a successful answer. */
export function response(code: number): <F extends Method>(method: F) => F {
  return (method) => Object.assign(method, { wsgiCode: code })
}

/** `@wsgi.action('os-stop')`: the method answers POST ../action with that key. */
export function action(name: string): <F extends Method>(method: F) => F {
  return (method) => Object.assign(method, { wsgiAction: name })
}

/** `@wsgi.expected_errors((400, 404))`: any other error is our fault, and a 500. */
export function expectedErrors(codes: number | readonly number[]):
    <F extends Method>(method: F) => F {
  const expected = new Set([codes].flat())
  return <F extends Method>(method: F): F => {
    const guarded: Method = async function (this: unknown, req, args) {
      try {
        return await method.call(this, req, args)
      } catch (error) {
        throw isExpected(error, expected) ? error : unexpected(error, req.environ)
      }
    }
    return Object.assign(guarded as F, { ...method })
  }
}

// The others of nova's own are always expected: they say what the client did wrong.
const isExpected = (error: unknown, expected: Set<number>): boolean =>
  error instanceof HTTPException ? expected.has(error.code)
    : [Forbidden, ValidationError, Unauthorized].some((kind) => error instanceof kind)

function unexpected(error: unknown, environ: Environ): HTTPException {
  if (error instanceof NotSupported) {
    return new HTTPBadRequest({ explanation: error.message })
  }
  logException(environ, error)
  const kind = error instanceof Error ? error.name : typeof error
  return new HTTPInternalServerError({ explanation: `Unexpected API Error (${kind}). ` +
    'The log of the API has it, under the request id of this answer.' })
}

export interface ResponseObjectOptions {
  readonly code?: number | undefined
  readonly headers?: Table<string> | undefined
}

/** An answer that extensions may still change: an object, a code and headers. */
export class ResponseObject {
  obj: unknown
  defaultCode: number = 200
  readonly #code: number | undefined
  readonly #headers: Map<string, string>

  constructor(obj: unknown, options: ResponseObjectOptions = {}) {
    this.obj = obj
    this.#code = options.code
    this.#headers = new Map(Object.entries(options.headers ?? {}))
  }

  /** An explicit code beats the one that `response` has put on the method. */
  get code(): number { return this.#code || this.defaultCode }
  get headers(): Record<string, string> { return Object.fromEntries(this.#headers) }

  get(name: string): string | undefined { return this.#headers.get(name.toLowerCase()) }
  set(name: string, value: string): void { this.#headers.set(name.toLowerCase(), value) }
  delete(name: string): boolean { return this.#headers.delete(name.toLowerCase()) }

  /** The status is set last: so a 204 keeps its Content-Type, as nova's does. */
  serialize(_req: OpenStackRequest | null, contentType: string): Response {
    const hasBody = this.obj !== null && this.obj !== undefined
    const res = new Response(hasBody ? { json: this.obj } : {})
    res.statusCode = this.code
    for (const [name, value] of this.#headers) res.headers.set(name, String(value))
    res.headers.set('Content-Type', contentType)
    return res
  }
}

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
  override async _dispatch({ environ }: Request): Promise<unknown> {
    const req = new OpenStackRequest(environ)
    try {
      this._setVersion(req)
      const { action, ...args } = this._actionArgs(environ)
      req.getContentType()                           // throws for one that we do not read
      const body = await req.bytes()
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

// Along the prototype chain, but never something that every object has.
function findMethod(controller: Controller, name: string, version: APIVersionRequest):
    Method | undefined {
  const versions = controller.versionedMethods ?? {}
  if (Object.hasOwn(versions, name)) return selectVersion(versions[name] ?? [], version)
  if (name.startsWith('_') || name === 'constructor') return undefined
  let holder: object | null = controller
  while (holder && holder !== Object.prototype && !Object.hasOwn(holder, name)) {
    holder = Object.getPrototypeOf(holder) as object | null
  }
  if (!holder || holder === Object.prototype) return undefined
  const found = (controller as Readonly<Record<string, unknown>>)[name]
  return isMethod(found) ? found : undefined
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

/** Strict JSON in strict UTF-8; an empty body is null. */
export function deserialize(body: Uint8Array): unknown {
  if (body.length === 0) return null
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    return JSON.parse(text) as unknown
  } catch {
    throw new MalformedRequestBody()
  }
}

/** Controller.is_valid_body: is there an object under that key? */
export function isValidBody(body: unknown, entity: string): boolean {
  return isDict(body) && Object.hasOwn(body, entity) && isDict(body[entity])
}

/** A JSON object: neither null nor an array. */
export function isDict(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
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
