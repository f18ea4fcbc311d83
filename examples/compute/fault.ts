// Faults: an HTTP error in nova's JSON, {"itemNotFound": {"code": 404, "message": ..}}.

import {
  HTTPBadRequest, HTTPException, HTTPInternalServerError, Middleware, statusMap,
  type Application, type Environ, type Request, type Response,
} from '../../mini-wsgi.ts'
import { Forbidden, Invalid } from './exception.ts'
import { API_VERSION_HEADER, LEGACY_API_VERSION_HEADER, OpenStackRequest }
  from './microversion.ts'

/** The key of the body; any other status is a computeFault. */
const FAULT_NAMES: ReadonlyMap<number, string> = new Map([
  [400, 'badRequest'],
  [401, 'unauthorized'],
  [403, 'forbidden'],
  [404, 'itemNotFound'],
  [405, 'badMethod'],
  [409, 'conflictingRequest'],
  [413, 'overLimit'],
  [415, 'badMediaType'],
  [429, 'overLimit'],
  [501, 'notImplemented'],
  [503, 'serviceUnavailable'],
])

/** Wraps an HTTP error; keeps its status and headers, and says the rest in JSON. */
export class Fault extends HTTPException {
  readonly wrapped: HTTPException

  constructor(wrapped: HTTPException) {
    super(wrapped.code)
    this.wrapped = wrapped
  }

  override _makeResponse(environ: Environ): Response {
    const response = this.wrapped._makeResponse(environ)
    response.headers.set('Content-Type', 'application/json; charset=UTF-8')
    response.body = JSON.stringify(this.#data())
    return withVersion(response, new OpenStackRequest(environ))
  }

  // The detail of the error never shows, only its explanation: it is meant for clients.
  #data(): object {
    const { code, explanation, headers } = this.wrapped
    const retry = code === 413 || code === 429 ? headers.get('Retry-After') : null
    const fault = { code, message: explanation, ...(retry ? { retryAfter: retry } : {}) }
    return { [FAULT_NAMES.get(code) ?? 'computeFault']: fault }
  }
}

/** Says on an answer which microversion it speaks, and that caches must look at that. */
export function withVersion(response: Response, req: OpenStackRequest): Response {
  const version = req.apiVersionRequest
  if (version.isNull()) return response
  response.headers.set(API_VERSION_HEADER, `compute ${version.getString()}`)
  response.headers.set(LEGACY_API_VERSION_HEADER, version.getString())
  response.headers.append('Vary', API_VERSION_HEADER)
  response.headers.append('Vary', LEGACY_API_VERSION_HEADER)
  return response
}

/** The HTTP error for a status, or the 500 for one that is no error. */
export function errorFor(code: unknown, explanation?: string): HTTPException {
  const known = typeof code === 'number' && code >= 400 ? statusMap.get(code) : undefined
  return new (known ?? HTTPInternalServerError)(explanation ? { explanation } : {})
}

/**
 * What a controller threw, as a Fault (nova's ResourceExceptionHandler). Anything that is
 * not an answer in disguise is thrown on: FaultWrapper makes a silent 500 of it.
 */
export function toFault(error: unknown, environ: Environ): Fault {
  if (error instanceof Fault) return error
  if (error instanceof HTTPException) return new Fault(error)
  if (error instanceof Forbidden || error instanceof Invalid) {
    return new Fault(errorFor(error.code, error.message))
  }
  if (error instanceof TypeError) {              // nova's rule: the arguments did not fit
    logException(environ, error)
    return new Fault(new HTTPBadRequest())
  }
  throw error
}

/** LOG.exception: the text goes to the server's log, never to the client. */
export function logException(environ: Environ, error: unknown): void {
  const text = error instanceof Error ? error.stack ?? error.message : String(error)
  const { REQUEST_METHOD: method, SCRIPT_NAME: mount, PATH_INFO: path } = environ
  environ['wsgi.errors'].write(`${method} ${mount}${path}: ${text}\n`)
}

/** Outermost but one: whatever an app below throws becomes a Fault without its text. */
export class FaultWrapper extends Middleware {
  override async processRequest(req: Request): Promise<Application> {
    try {
      return await req.getResponse(this.application)
    } catch (error) {
      logException(req.environ, error)
      return this._error(error as Partial<Thrown>)
    }
  }

  // A Fault that escapes a Resource is a bug of ours, not an answer: 500, as in nova.
  _error(error: Partial<Thrown>): Fault {
    const { code = 500, safe, name, message, headers = {} } = error
    const explanation = safe ? `${name}: ${message}` : undefined
    const outer = errorFor(error instanceof Fault ? 500 : code, explanation)
    const pairs = Symbol.iterator in headers ? headers : Object.entries(headers)
    for (const [name, value] of pairs) outer.headers.append(name, value)
    return new Fault(outer)
  }
}

// Anything can be thrown; these are the fields that we look at.
interface Thrown {
  readonly name: string
  readonly message: string
  readonly code: number
  readonly safe: boolean
  readonly headers: Iterable<readonly [string, string]> | Readonly<Record<string, string>>
}

/** [filter:legacy_v2_compatible]: /v2 knows no microversions; neither may its answers. */
export class LegacyV2CompatibleWrapper extends Middleware {
  override processRequest(req: Request): void {
    req.environ['openstack.legacy_v2'] = true
    req.headers.delete(API_VERSION_HEADER)
    req.headers.delete(LEGACY_API_VERSION_HEADER)
  }

  override processResponse(response: Response): Response {
    const names = [API_VERSION_HEADER, LEGACY_API_VERSION_HEADER]
    const vary = response.headers.getAll('Vary').flatMap((value) => value.split(','))
      .map((name) => name.trim()).filter((name) => !names.includes(name))
    for (const name of [...names, 'Vary']) response.headers.delete(name)
    if (vary.length) response.headers.set('Vary', vary.join(','))
    return response
  }
}
