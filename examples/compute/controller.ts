// What a controller is made of (the decorators of nova.api.openstack.wsgi): methods that
// take a request and arguments, and return an object, or what says more about the answer.

import { HTTPBadRequest, HTTPException, HTTPInternalServerError, Response, type Environ }
  from '../../mini-wsgi.ts'
import { Forbidden, NotSupported, Unauthorized, ValidationError } from './exception.ts'
import { logException } from './fault.ts'
import type { OpenStackRequest } from './microversion.ts'

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

/** What the decorators below leave on a function. */
export interface Marks { wsgiCode?: number; wsgiAction?: string }

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
