// SPDX-License-Identifier: MIT
// SPDX-FileCopyrightText: 2026 the mini-wsgi.ts authors
// mini-wsgi.ts 0.1.0: WSGI for TypeScript, in one file without dependencies
//
// The stack behind OpenStack's nova-api, ported: WSGI (PEP 3333), WebOb's wsgify, Routes'
// Mapper, nova's Router, PasteDeploy's ini files, and a server.
//
//     import { Router, makeServer } from './mini-wsgi.ts'
//
//     const router = new Router()
//     router.get('/hello/{name}', (req, { name }) => `Hello ${name}!\n`)
//     const server = await makeServer('127.0.0.1', 8080, router)
//     await server.serveForever()
//
// Read it from the top: each chapter takes one step of the same request further.
//
//     GET /v1/servers/42?detail=1
//
//     socket -> host adapter -> environ -> composite (URLMap: SCRIPT_NAME=/v1)
//     -> pipeline of filters -> Router -> Mapper.match -> environ['wsgiorg.routing_args']
//     -> Router._dispatch -> controller.__call__ -> action show(req, {id: '42'})
//     -> Response -> startResponse(status, headers) + body -> bytes on the socket
//
//      1. the contract    what an application is, and what environ holds
//      2. Request         a view over environ
//      3. Response        an answer, which is itself an application
//      4. HTTP errors     answers that one can throw
//      5. wsgify          from (req) => result to an application
//      6. Mapper          URL to variables, and back
//      7. routing apps    RoutesMiddleware, Router, Resource, restController, URLMap
//      8. filters         applications around applications
//      9. config          an application put together from an ini file
//     10. seeing it work  the contract as code
//     11. hosting         fetch handlers and node:http
//     12. serving         a server that listens, and its worker processes

// 1. The contract ───────────────────────────────────────────────────────────────────────
// Arrives: nothing yet. Leaves: the words that every later chapter speaks. An application
// is called with the request as a dictionary (environ) and a function that takes status
// and headers (startResponse); it returns the body, chunk by chunk. A filter wraps an
// application and is one itself, so they nest without end. Our request arrives as
//     { REQUEST_METHOD: 'GET', SCRIPT_NAME: '', PATH_INFO: '/v1/servers/42',
//       QUERY_STRING: 'detail=1', HTTP_HOST: 'localhost:8774', 'wsgi.input': ... }
//
// What is owed, by whom (PEP 3333, "Specification Details"; chapter 10 checks it):
//   application  calls startResponse before its first chunk, once, or again with excInfo
//   server       sends status and headers with the first non-empty chunk that it writes,
//                never earlier, so that until then excInfo can replace them; after that
//                an error cuts the connection (HEAD and 204 have no chunk: at once)
//   consumer     calls body.close(), if there is one, exactly once, always; without one,
//                the iterator's return() once, and only when it stops before the end
//   filter       owes its inner application what server and consumer owe: if it returns
//                another body, that one needs a close() which closes the inner one
//
// Python's names become camelCase (path_info_pop: pathInfoPop). What crosses a boundary
// keeps its spelling: environ keys, ini keys, route variables, and `__call__`, the method
// that makes an object callable. (`call` would collide with Function.prototype.call.)

/** The version of this file; package.json says the same. */
export const VERSION = '0.1.0'

/** A piece of a body; a string is sent as UTF-8. */
export type Chunk = string | Uint8Array

/** What an application returns. `& object` refuses a bare string, which has no chunks. */
export type Body = (Iterable<Chunk> | AsyncIterable<Chunk>) & object

/** Header names and values, in the order in which they are sent; names may repeat. */
export type HeaderList = [name: string, value: string][]

/** Sends a chunk at once. It never rejects; a promise asks the caller to slow down. */
export type Write = (chunk: Chunk) => void | Promise<void>

/** Takes status ('200 OK') and headers; with `excInfo`, an error, they replace others. */
export type StartResponse =
  (status: string, headers: HeaderList, excInfo?: unknown) => Write

/** An application as a function. A sync one stays sync: no promise is made on its way. */
export type ApplicationFunction =
  (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>

/** An application: a function, or an object with `__call__` (Python's callable). */
export type Application = ApplicationFunction | { __call__: ApplicationFunction }

/** Takes an application, returns one around it. */
export type Filter = (app: Application) => Application

/** A method under `@wsgify`: at run time an application, to TypeScript its own type. */
export type DecoratedMethod = (req: Request, ...args: never[]) => unknown

/** `wsgi.input`: the request's body, read when asked for. */
export interface Input extends AsyncIterable<Uint8Array> {
  /** `size` bytes, fewer only at the end; without a size, all that is left. */
  read(size?: number): Promise<Uint8Array>
}

/**
 * The request as an ordinary dictionary: keys enumerate, spreading copies it.
 *
 * | key | value |
 * |---|---|
 * | SCRIPT_NAME | the part of the path that mounts have consumed: '' or '/v1' |
 * | PATH_INFO | the rest, decoded once from percent and UTF-8: '/servers/42' |
 * | QUERY_STRING | after the '?', undecoded: 'detail=1' |
 * | REQUEST_URI | the raw target: '/v1/servers/42?detail=1'; here %2F is still %2F |
 * | HTTP_* | headers: X-Auth-Token is HTTP_X_AUTH_TOKEN; repeated ones are joined |
 * | wsgi.input | the body; `wsgi.input_terminated` says that it knows its own end |
 * | wsgi.errors | where errors are written |
 * | wsgiorg.routing_args | [URLGenerator, variables of the match] (chapter 7) |
 * | routes.route, routes.url | the route that matched, and the same URLGenerator |
 * | mini.signal | AbortSignal that fires when the client goes away; made on first use |
 */
export interface Environ {
  REQUEST_METHOD: string; SCRIPT_NAME: string; PATH_INFO: string; QUERY_STRING: string
  CONTENT_TYPE?: string | undefined; CONTENT_LENGTH?: string | undefined
  SERVER_NAME: string; SERVER_PORT: string; SERVER_PROTOCOL: string
  REMOTE_ADDR?: string | undefined; REQUEST_URI?: string | undefined
  [header: `HTTP_${string}`]: string | undefined
  'wsgi.version': readonly number[]; 'wsgi.url_scheme': string
  'wsgi.input': Input; 'wsgi.errors': { write(text: string): unknown }
  'wsgi.multithread': boolean; 'wsgi.multiprocess': boolean; 'wsgi.run_once': boolean
  'wsgi.input_terminated'?: boolean | undefined
  'wsgiorg.routing_args'?: [url: unknown, vars: Record<string, unknown>] | undefined
  'routes.route'?: Route | null | undefined; 'routes.url'?: URLGenerator | undefined
  'mini.signal'?: AbortSignal | undefined
  'mini.trace'?: ((app: Application, environ: Environ, startResponse: StartResponse) =>
    StartResponse) | undefined
  [key: string]: unknown
}

/**
 * Calls an application in either form: the one place that knows both.
 *
 * @example
 * const app: Application = { __call__(environ, startResponse) {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [environ.PATH_INFO]
 * } }
 * callApplication(app, Request.blank('/servers/42').environ, () => () => {})
 * //=> ['/servers/42']
 */
export function callApplication(
  app: Application, environ: Environ, startResponse: StartResponse,
): Body | Promise<Body> {
  const { 'mini.trace': watch } = environ // chapter 10 looks on from here
  const start = watch ? watch(app, environ, startResponse) : startResponse
  if (typeof app === 'function') return app(environ, start)
  if (isApplication(app)) return app.__call__(environ, start)
  throw new TypeError(`${quote(app)} is no application; give a function or a __call__`)
}

// A process may hold two copies of this file: so applications are known by their shape.
const isApplication = (app: unknown): app is Application => typeof app === 'function'
  || typeof (app as { __call__?: unknown } | null)?.__call__ === 'function'

/** Options: each may be left out, or be undefined. */
type Partially<T> = { [K in keyof T]?: T[K] | undefined }

/** Reads a body, sync or async, and keeps the contract about its closing. */
class BodyReader {
  readonly #body: Body & Partial<Record<Ending, () => unknown>>
  #iterator: Iterator<Chunk> | AsyncIterator<Chunk> | undefined
  #hasEnded = false
  #isClosed = false

  constructor(body: Body | Chunk) {
    // One of the articles returns a bare string. It is one chunk; chapter 10 names it.
    this.#body = isChunk(body) ? [body] : body
    if (isIterable(this.#body)) return
    throw new TypeError(`An application returned the body ${quote(body)}; return [text]`)
  }

  get isSync(): boolean { return Symbol.iterator in this.#body }

  /** The next chunk; a promise only where the body itself is async. */
  next(): IteratorResult<Chunk> | Promise<IteratorResult<Chunk>> {
    const failed = (error: unknown): never => {
      this.#hasEnded = true // an iterator that throws has nothing to return from
      throw error
    }
    try {
      this.#iterator ??= iterate(this.#body)
      return whenKnown(this.#iterator.next(), (step) => {
        if (step.done) this.#hasEnded = true
        return step
      }, failed)
    } catch (error) {
      return failed(error)
    }
  }

  /** Closes the body. Only the first call counts. */
  end(): unknown {
    if (this.#isClosed) return undefined
    this.#isClosed = true
    if (typeof this.#body.close === 'function') return this.#body.close()
    if (this.#hasEnded) return undefined
    if (this.#iterator) return this.#iterator.return?.()
    const { return: leave, cancel, destroy } = this.#body // not begun: streams have these
    return (leave ?? cancel ?? destroy)?.call(this.#body)
  }
}
type Ending = 'close' | 'return' | 'cancel' | 'destroy'

const isIterable = (value: unknown): value is Body => isObject(value)
  && (Symbol.iterator in value || Symbol.asyncIterator in value || 'getReader' in value)

/** An iterator over a body; some platforms' streams cannot be iterated, only read. */
function iterate(body: Body): Iterator<Chunk> | AsyncIterator<Chunk> {
  if (Symbol.iterator in body) return body[Symbol.iterator]()
  if (Symbol.asyncIterator in body) return body[Symbol.asyncIterator]()
  const reader = (body as ReadableStream<Chunk>).getReader()
  return {
    next: () => reader.read() as Promise<IteratorResult<Chunk>>,
    return: () => reader.cancel().then(() => ({ done: true, value: undefined })),
  }
}

// Helpers of several chapters.

/** Makes dictionaries without a prototype: '__proto__' is a name like any other. */
const Dict = /* @__PURE__ */ (() => {
  const made = function () {}
  made.prototype = Object.create(null) as object
  return made as unknown as new <T>() => Record<string, T>
})()

/** What the platform's types ask for since TypeScript 5.7. */
type PlainBytes = ReturnType<Uint8Array['slice']>

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null
const isChunk = (value: unknown): value is Chunk =>
  typeof value === 'string' || value instanceof Uint8Array

/** Headers or form fields as pairs; they may also be given as an object. */
const pairsOf = <T>(fields: [string, T][] | Record<string, T>): [string, T][] =>
  Array.isArray(fields) ? fields : Object.entries(fields)

const encoder = /* @__PURE__ */ new TextEncoder()
const toBytes = (chunk: Chunk): Uint8Array =>
  typeof chunk === 'string' ? encoder.encode(chunk) : chunk
const toText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const STDERR = { write: (text: string): void => { console.error(text.trimEnd()) } }

function joinBytes(chunks: readonly Uint8Array[]): Uint8Array {
  const [first] = chunks
  if (first && chunks.length === 1) return first
  const joined = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const chunk of chunks) {
    joined.set(chunk, at)
    at += chunk.length
  }
  return joined
}

const isPromise = <T>(value: T | PromiseLike<T>): value is PromiseLike<T> =>
  typeof (value as { then?: unknown } | null | undefined)?.then === 'function'

/** Uses a value now if it is here, else later: promises are passed on, never made. */
const whenKnown = <T, R>(
  value: T | Promise<T>, use: (value: T) => R | Promise<R>,
  fail?: (error: unknown) => never,
): R | Promise<R> => isPromise(value) ? value.then(use, fail) as Promise<R> : use(value)

/** A value as an error message quotes it. */
function quote(value: unknown): string {
  if (typeof value === 'function') return `the function ${value.name || 'without a name'}`
  if (typeof value === 'string') return JSON.stringify(value)
  if (!isObject(value)) return String(value)
  if (Array.isArray(value)) {
    return `[${value.map((one) => isObject(one) ? '...' : quote(one)).join(', ')}]`
  }
  const name = (value.constructor as { name?: string } | undefined)?.name ?? 'Object'
  return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`
}

// 2. Request ────────────────────────────────────────────────────────────────────────────
// Arrives: environ. Leaves: the same environ, seen through the names of WebOb's Request
// and the platform's readers. But for `response`, a Request holds nothing of its own: a
// filter and the application behind it each make one over the same environ, and both see
// what the other changed. Of ours, `req.GET.get('detail')` is '1', and
// `req.pathInfoPop()` gives 'v1', leaving SCRIPT_NAME '/v1' and PATH_INFO '/servers/42'.

/** What `Request.blank` takes beside the path. */
export type BlankOptions = Partially<{
  method: string; headers: HeaderList | Record<string, string>; body: Chunk; json: unknown
  /** Form fields as pairs or an object; a File among them makes the form multipart. */
  POST: [string, unknown][] | Record<string, unknown> | Chunk
  /** Scheme, host and SCRIPT_NAME: 'http://localhost:8774/v1'. */ baseUrl: string
  environ: Partial<Environ>
}>

/**
 * A view over environ (webob.Request).
 *
 * @example
 * const req = Request.blank('/v1/servers/42?detail=1')
 * req.GET.get('detail') //=> '1'
 * req.pathInfoPop() //=> 'v1'
 * [req.scriptName, req.pathInfo] //=> ['/v1', '/servers/42']
 */
export class Request {
  readonly environ: Environ
  #response: Response | undefined

  constructor(environ: Environ) { this.environ = environ }

  /** The class of `req.response` and `getResponse`; a subclass may name another. */
  static get ResponseClass(): typeof Response { return Response }
  static set ResponseClass(value: typeof Response) {
    Object.defineProperty(this, 'ResponseClass', { value, writable: true })
  }

  /** A request without a socket, for tests and for calling other applications. */
  static blank<R extends Request>(
    this: new (environ: Environ) => R, url: string, options: BlankOptions = {},
  ): R {
    const { headers = [], json, body = JSON.stringify(json), POST } = options
    const req = new this(blankEnviron(url, options))
    for (const [name, value] of pairsOf(headers)) req.headers.set(name, value)
    if (json !== undefined) req.environ.CONTENT_TYPE ??= 'application/json'
    if (POST !== undefined) setForm(req, POST)
    if (body !== undefined) req.body = body
    return req
  }

  get method(): string { return this.environ.REQUEST_METHOD }
  set method(value: string) { this.environ.REQUEST_METHOD = value }
  get scriptName(): string { return this.environ.SCRIPT_NAME ?? '' }
  set scriptName(value: string) { this.environ.SCRIPT_NAME = value }
  get pathInfo(): string { return this.environ.PATH_INFO }
  set pathInfo(value: string) { this.environ.PATH_INFO = value }

  get scheme(): string { return this.environ['wsgi.url_scheme'] }
  get queryString(): string { return this.environ.QUERY_STRING ?? '' }
  get remoteAddr(): string | null { return this.environ.REMOTE_ADDR ?? null }
  /** 'localhost:8774': the Host header, else the server's own name. */
  get host(): string {
    const { HTTP_HOST: host, SERVER_NAME: name, SERVER_PORT: port } = this.environ
    return host || `${name}:${port}`
  }
  /** 'http://localhost': the usual port is left out. */
  get hostUrl(): string {
    const usual = this.scheme === 'https' ? /:443$/ : /:80$/
    return `${this.scheme}://${this.host.replace(usual, '')}`
  }
  /** 'http://localhost/v1': up to the mounted application. */
  get applicationUrl(): string { return this.hostUrl + quotePath(this.scriptName) }
  /** 'http://localhost/v1/servers/42' */
  get pathUrl(): string { return this.hostUrl + this.path }
  /** '/v1/servers/42' */
  get path(): string { return quotePath(this.scriptName + this.pathInfo) }
  /** '/v1/servers/42?detail=1' */
  get pathQs(): string { return this.path + (this.queryString && `?${this.queryString}`) }
  /** 'http://localhost/v1/servers/42?detail=1' */
  get url(): string { return this.hostUrl + this.pathQs }

  /** The query string's fields, as the platform reads them. */
  get GET(): URLSearchParams { return new URLSearchParams(`?${this.queryString}`) }
  get headers(): RequestHeaders { return new RequestHeaders(this.environ) }
  get cookies(): ReadonlyMap<string, string> { return parseCookies(this.environ) }
  get accept(): { bestMatch(offers: readonly string[]): string | null } {
    return { bestMatch: (offers) => bestMatch(offers, this.environ['HTTP_ACCEPT']) }
  }

  /** 'text/html', without parameters; setting it keeps them. */
  get contentType(): string {
    return this.environ.CONTENT_TYPE?.split(';', 1)[0]?.trim() ?? ''
  }
  set contentType(value: string | null) {
    const [kept = ''] = /;.*/s.exec(this.environ.CONTENT_TYPE ?? '') ?? []
    if (value === null) delete this.environ.CONTENT_TYPE
    else this.environ.CONTENT_TYPE = value.includes(';') ? value : value + kept
  }
  get contentLength(): number | null {
    const { CONTENT_LENGTH: length = '' } = this.environ
    return /^\d+$/.test(length) ? Number(length) : null
  }

  /** The matched route's variables and defaults: { id: '42', action: 'show' ... }. */
  get urlvars(): Record<string, unknown> {
    return (this.environ['wsgiorg.routing_args'] ??= [[], new Dict()])[1]
  }
  set urlvars(vars: Vars) { this.environ['wsgiorg.routing_args'] = [[], vars] }

  /** Fires when the client goes away; null where the host cannot tell. */
  get signal(): AbortSignal | null { return this.environ['mini.signal'] ?? null }

  /** Where a handler may set cookies and headers before it returns a text or nothing. */
  get response(): Response {
    return (this.#response ??= new (this.constructor as typeof Request).ResponseClass())
  }
  /** Whether anybody has asked for `response`. */
  get hasResponse(): boolean { return this.#response !== undefined }

  get body(): never { throw new TypeError('Read a body with await req.bytes()') }
  set body(value: Chunk) {
    const bytes = toBytes(value)
    this.environ['wsgi.input'] = new BufferedInput(Promise.resolve(bytes))
    this.environ.CONTENT_LENGTH = String(bytes.length)
  }

  /** The whole body. It stays readable: for us, and for every application after us. */
  bytes(): Promise<Uint8Array> {
    const input = this.environ['wsgi.input']
    if (input instanceof BufferedInput) return input.whole
    const whole = readBody(this.environ, this.contentLength)
    this.environ['wsgi.input'] = new BufferedInput(whole)
    return whole
  }
  text(): Promise<string> { return this.#read('UTF-8', strictText) }
  json(): Promise<unknown> { return this.#read('JSON', parseJson) }

  /** The form in the body, urlencoded or multipart; empty where there is none. */
  async formData(): Promise<FormData> {
    const type = this.environ.CONTENT_TYPE || (this.method === 'POST' ? URLENCODED : '')
    const isForm = /^(multipart\/form-data|application\/x-www-form-urlencoded)\b/i
    if (!isForm.test(type) || /^(GET|HEAD)$/.test(this.method)) return new FormData()
    return this.#read(type, (bytes) => parseForm(bytes, type).catch((error: unknown) => {
      throw unreadable(type, error)
    }))
  }

  /** The query's fields, then the form's. `get` gives the first (WebOb: the last). */
  async params(): Promise<FormData> {
    const fields = new FormData()
    const append = (value: unknown, name: string) => fields.append(name, value as string)
    this.GET.forEach(append)
    ;(await this.formData()).forEach(append)
    return fields
  }

  /** The body, parsed; a client that sent something else is answered with 400 or 415. */
  #read<T>(type: string, parse: (bytes: Uint8Array) => T): Promise<T> {
    const { HTTP_CONTENT_ENCODING: coding } = this.environ
    return this.bytes().then((bytes) => {
      if (coding !== undefined && !/^identity$/i.test(coding)) {
        throw new HTTPUnsupportedMediaType(`Content-Encoding ${coding} is not read.`)
      }
      try {
        return parse(bytes)
      } catch (error) {
        throw unreadable(type, error)
      }
    })
  }

  /** Moves the path's next segment from pathInfo to scriptName; null if there is none. */
  pathInfoPop(): string | null {
    const [moved = '', segment = null] = /^\/+([^/]*)/.exec(this.pathInfo) ?? []
    this.scriptName += moved
    this.pathInfo = this.pathInfo.slice(moved.length)
    return segment
  }
  /** The segment that `pathInfoPop` would move. */
  pathInfoPeek(): string | null { return /^\/+([^/]*)/.exec(this.pathInfo)?.[1] ?? null }

  /**
   * Runs an application on this request. The answer comes as soon as status and headers
   * are known: the body may still be a stream, and is the caller's to read or to close.
   */
  getResponse(app: Application): Promise<Response>
  getResponse(app: DecoratedMethod): Promise<Response>
  async getResponse(app: Application | DecoratedMethod): Promise<Response> {
    return responseOf(this, app as Application)
  }
}

/**
 * `pathInfoPop` as wsgiref.util has it: empty segments and '.' go, '..' takes one back.
 *
 * @example
 * const { environ } = Request.blank('/v1//./servers')
 * [shiftPathInfo(environ), environ.SCRIPT_NAME, environ.PATH_INFO]
 * //=> ['v1', '/v1', '/servers']
 */
export function shiftPathInfo(environ: Environ): string | null {
  const { SCRIPT_NAME: script, PATH_INFO: path } = environ
  const [name, ...rest] = path.replace(/\/(\.?\/)+/g, '/').split('/').slice(1)
  if (name === undefined) return null
  const base = script.replace(/\/+(?=\/|$)/g, '')
  const moved = name === '.' ? '' : `/${name}`
  environ.SCRIPT_NAME = name === '..' ? base.replace(/\/[^/]*$/, '') : base + moved
  environ.PATH_INFO = rest.map((part) => `/${part}`).join('')
  return name === '.' ? null : name
}

/** What getResponse gives, without a promise where the application is sync. */
function responseOf(req: Request, app: Application): Response | Promise<Response> {
  const input = req.environ['wsgi.input']
  if (input instanceof BufferedInput) input.rewind()
  const { ResponseClass } = req.constructor as typeof Request
  return whenKnown(collect(app, req.environ), ({ status, headers, body }) =>
    new ResponseClass({ status, headerlist: headers, appIter: body }))
}

/** What an application answered; the status is '' until it has called startResponse. */
interface Answer { status: string; headers: HeaderList; body: Body }

const TWICE = 'startResponse was called twice; pass the error, to replace it, as excInfo'
const NEVER = 'The application did not call startResponse; is it a handler for wsgify()?'

/** Runs an application until status and headers are known: at once, if it has a list. */
function collect(app: Application, environ: Environ): Answer | Promise<Answer> {
  const answer: Answer = { status: '', headers: [], body: [] }
  const written: Chunk[] = []
  let isPassedOn = false
  const returned = callApplication(app, environ, (status, headers, excInfo) => {
    if (answer.status && !excInfo) throw new Error(TWICE)
    if (isPassedOn) throw excInfo
    Object.assign(answer, { status, headers })
    return (chunk) => { written.push(chunk) }
  })
  const begin = (): void => {
    if (!answer.status) throw new Error(NEVER)
    isPassedOn = true
  }
  return whenKnown(returned, (body) => {
    const isWhole = Array.isArray(body) || environ.REQUEST_METHOD === 'HEAD'
    if (!isWhole || !answer.status || written.length > 0) {
      const chunks = replay(body, written, begin)
      return chunks.next().then(() => ({ ...answer, body: chunks }))
    }
    begin()
    return { ...answer, body }
  })
}

/**
 * What was written, then the body, which it closes. Its first step says that there is a
 * chunk which is not empty: until then startResponse may come, or come again.
 */
async function* replay(
  body: Body, written: Chunk[] = [], begin = (): void => {},
): AsyncGenerator<Chunk> {
  const reader = new BodyReader(body)
  try {
    let step = await reader.next()
    while (step.value?.length === 0 && written.length === 0) step = await reader.next()
    begin()
    yield ''
    for (; ; step = await reader.next()) {
      for (const chunk of written.splice(0)) yield chunk
      if (step.done) return
      yield step.value
    }
  } finally {
    await reader.end()
  }
}

/** `wsgi.input` over bytes that are in memory, or will be: it can be read again. */
class BufferedInput implements Input {
  readonly whole: Promise<Uint8Array>
  #at = 0

  constructor(whole: Promise<Uint8Array>) { this.whole = whole }

  async read(size = Infinity): Promise<Uint8Array> {
    const rest = (await this.whole).subarray(this.#at)
    const chunk = size < 0 ? rest : rest.subarray(0, size)
    this.#at += chunk.length
    return chunk
  }
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> { yield await this.read() }
  rewind(): void { this.#at = 0 }
}

/** Reads `wsgi.input` as far as the contract allows: CONTENT_LENGTH, else its own end. */
function readBody(environ: Environ, length: number | null): Promise<Uint8Array> {
  const { 'wsgi.input': input, 'wsgi.input_terminated': isTerminated } = environ
  const size = isTerminated && length !== 0 ? undefined : length ?? 0
  return Promise.resolve(input.read(size)).then((bytes) => { // others' may be sync
    if (bytes.length < (length ?? 0)) {
      throw new HTTPBadRequest(`The body has ${bytes.length} of ${length} bytes.`)
    }
    if (size !== 0) environ.CONTENT_LENGTH = String(bytes.length)
    return bytes
  })
}

const unreadable = (type: string, error: unknown): HTTPException =>
  new HTTPBadRequest(`The body is not ${type}: ${(error as Error).message}`)

const strictDecoder = /* @__PURE__ */
  new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const strictText = (bytes: Uint8Array): string => strictDecoder.decode(bytes)

const MOST = 1000 // levels of JSON, fields of a form

/** What nests too deep would overflow the stack when it is written as JSON again. */
function parseJson(bytes: Uint8Array): unknown {
  const value = JSON.parse(strictText(bytes)) as unknown
  let level = bytes.length > 2 * MOST ? [value] : [] // each has two brackets
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MOST) throw new RangeError(`it is over ${MOST} levels deep`)
    level = level.flatMap((one) => isObject(one) ? Object.values(one) as unknown[] : [])
  }
  return value
}

const URLENCODED = 'application/x-www-form-urlencoded'

/** The platform reads both kinds of forms, but sets no limit to their fields. */
function parseForm(bytes: Uint8Array, type: string): Promise<FormData> {
  const text = new TextDecoder('latin1').decode(bytes) // one character is one byte
  const [, boundary] = /^multipart.*;\s*boundary="?([^";\s]+)/i.exec(type) ?? []
  const separator = boundary === undefined ? '&' : /\ncontent-disposition:/i
  if (text.split(separator, MOST + 1).length > MOST) {
    throw new RangeError(`it has more than ${MOST} fields`)
  }
  let body = bytes
  if (boundary !== undefined) { // text around the parts (RFC 2046) is ours to take away
    const end = text.lastIndexOf(`--${boundary}--`) + boundary.length + 4
    const parts = bytes.subarray(Math.max(text.indexOf(`--${boundary}`), 0), end)
    body = joinBytes([parts, toBytes('\r\n')])
  }
  return new globalThis.Response(body as PlainBytes,
    { headers: { 'Content-Type': type } }).formData() as Promise<FormData>
}

/** The environ of `Request.blank` (webob.request.environ_from_url). */
function blankEnviron(url: string, options: BlankOptions): Environ {
  const { baseUrl = '', POST, method = POST === undefined ? 'GET' : 'POST' } = options
  const [, scheme, host, raw = '', query = '', hash] = URL_PARTS.exec(url) ?? []
  const [, baseScheme, baseHost, script = '', ...rest] = URL_PARTS.exec(baseUrl) ?? []
  const path = decodePath(raw)
  if (path === null || hash !== undefined || rest.some(Boolean)) {
    throw new TypeError(`Request.blank(${quote(url)}), baseUrl ${quote(baseUrl)}: they `
      + 'must be percent-encoded UTF-8 without #fragment, baseUrl also without ?query')
  }
  return {
    ...makeEnviron(method, baseScheme ?? scheme, baseHost ?? host),
    SCRIPT_NAME: decodePath(script) ?? script, PATH_INFO: path,
    QUERY_STRING: query, REQUEST_URI: raw + (query && `?${query}`), ...options.environ,
  }
}

const URL_PARTS = // scheme, host, path, query, fragment
  /^(?:(https?):\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?$/is

function makeEnviron(method: string, scheme = 'http', host = 'localhost'): Environ {
  const name = host.replace(/:\d*$/, '')
  const port = /:(\d+)$/.exec(host)?.[1] ?? (/^https$/i.test(scheme) ? '443' : '80')
  return {
    REQUEST_METHOD: method, SCRIPT_NAME: '', PATH_INFO: '', QUERY_STRING: '',
    SERVER_NAME: name, SERVER_PORT: port, SERVER_PROTOCOL: 'HTTP/1.0',
    HTTP_HOST: `${name}:${port}`,
    'wsgi.version': [1, 0], 'wsgi.url_scheme': scheme.toLowerCase(),
    'wsgi.input': new BufferedInput(Promise.resolve(new Uint8Array(0))),
    'wsgi.errors': STDERR,
    'wsgi.multithread': false, 'wsgi.multiprocess': false, 'wsgi.run_once': false,
  }
}

/** Fields are urlencoded; with a File among them they are multipart, by the platform. */
function setForm(req: Request, fields: NonNullable<BlankOptions['POST']>): void {
  const { environ, contentType } = req
  const pairs = isChunk(fields) ? [] : pairsOf(fields) as [string, string][]
  const isMultipart = pairs.some(([, value]) => isObject(value))
    || (pairs.length > 0 && contentType.startsWith('multipart/'))
  if (!isMultipart) {
    environ.CONTENT_TYPE ??= URLENCODED
    req.body = isChunk(fields) ? fields : String(new URLSearchParams(pairs))
    return
  }
  const form = new FormData()
  for (const [name, value] of pairs) form.append(name, value)
  const writer = new globalThis.Response(form)
  const bytes = writer.arrayBuffer().then((buffer) => new Uint8Array(buffer))
  environ.CONTENT_TYPE = writer.headers.get('Content-Type') ?? ''
  environ['wsgi.input'] = new BufferedInput(bytes)
  environ['wsgi.input_terminated'] = true // the length is known once it is written
}

/** Percent-encodes what may not stand in a path. */
const quotePath = (path: string): string => /^[\w/.~-]*$/.test(path) ? path
  : encodeURI(path).replace(/[?#]/g, encodeURIComponent)

/** Percent-decodes a path, once; null if it is not UTF-8. '%zz' stays as it is. */
function decodePath(path: string): string | null {
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path.replace(/%(?![0-9a-f]{2})/gi, '%25'))
  } catch {
    return null
  }
}

/** The headers of a response: a view over its headerlist, names in any case. */
class Headers {
  readonly #list: HeaderList
  constructor(list: HeaderList) { this.#list = list }

  entries(): IterableIterator<[string, string]> { return this.#list.values() }
  append(name: string, value: string): void { this.#list.push([name, value]) }
  /** Replaces all headers of this name, in the place of the first; null removes them. */
  set(name: string, value: string | null): void {
    const isSame = sameName(name)
    const at = this.#list.findIndex(isSame)
    const later = at < 0 ? [] : this.#list.splice(at)
    if (value !== null) this.append(name, value)
    for (const header of later) if (!isSame(header)) this.#list.push(header)
  }
  delete(name: string): void { this.set(name, null) }
  getAll(name: string): string[] {
    return [...this.entries()].filter(sameName(name)).map(([, value]) => value)
  }
  get(name: string): string | null { return this.#list.find(sameName(name))?.[1] ?? null }
  has(name: string): boolean { return this.get(name) !== null }
  *keys(): Generator<string> { for (const [name] of this.entries()) yield name }
  [Symbol.iterator](): IterableIterator<[string, string]> { return this.entries() }
}

function sameName(name: string): (header: [name: string, value: string]) => boolean {
  const key = name.toLowerCase()
  return ([other]) => other.length === key.length && other.toLowerCase() === key
}

/** The headers of a request: they have no list, but keys in environ. */
class RequestHeaders extends Headers {
  readonly #environ: Environ

  constructor(environ: Environ) {
    super([])
    this.#environ = environ
  }
  override get(name: string): string | null {
    return this.#environ[headerKey(name) as `HTTP_${string}`] ?? null
  }
  override set(name: string, value: string | null): void {
    if (value === null) delete this.#environ[headerKey(name)]
    else this.#environ[headerKey(name)] = value
  }
  override append(name: string, value: string): void {
    this.set(name, [...this.getAll(name), value].join(', '))
  }
  override *entries(): Generator<[name: string, value: string]> {
    for (const [key, value] of Object.entries(this.#environ)) {
      const isHeader = /^(HTTP_|CONTENT_(TYPE|LENGTH)$)/.test(key)
      if (isHeader && value !== undefined) yield [headerName(key), String(value)]
    }
  }
}

/** 'X-Auth-Token' -> 'HTTP_X_AUTH_TOKEN' (RFC 3875 section 4.1.18) */
function headerKey(name: string): string {
  const key = name.toUpperCase().replaceAll('-', '_')
  return key === 'CONTENT_TYPE' || key === 'CONTENT_LENGTH' ? key : `HTTP_${key}`
}

/** 'HTTP_X_AUTH_TOKEN' -> 'X-Auth-Token' */
const headerName = (key: string): string => key.replace('HTTP_', '').toLowerCase()
  .replaceAll('_', '-').replace(/(^|-)[^-]/g, (start) => start.toUpperCase())

const COOKIE = // a name, and a value in quotes or up to the next ';' or ','
  /(?<![^\s;,])([\w!#%&'*+.^`|~-][\w!#$%&'*+.^`|~-]*)\s*=\s*("(?:\\.|[^"\\])*"|[^;,]*)/gs

/** Name to value; the last of a name wins (RFC 6265 section 5.4). */
const parseCookies = ({ HTTP_COOKIE: header = '' }: Environ): Map<string, string> =>
  new Map(Array.from(header.matchAll(COOKIE), ([, name = '', value = '']) =>
    [name, unquoteCookie(value.trim())]))

/** A quoted value spells the bytes that may not stand in a cookie in octal. */
function unquoteCookie(value: string): string {
  const inner = /^"(.*)"$/s.exec(value)?.[1] ?? value
  if (!inner.includes('\\')) return inner
  const bytes = [...inner.matchAll(/\\([0-3][0-7][0-7])|\\?([^])/gu)].flatMap(
    ([, octal, char = '']) => octal ? [parseInt(octal, 8)] : [...encoder.encode(char)])
  return toText(Uint8Array.from(bytes))
}

/**
 * Accept: which of our types suits the client best, of equals the first; null asks for a
 * 406 (RFC 9110 section 12.5.1). A type's weight is that of the most specific range; of
 * a range that comes twice the first counts, and a header with an error says nothing.
 */
function bestMatch(offers: readonly string[], header = '*/*'): string | null {
  const ranges = squeezed(header).split(',').filter(Boolean)
  const isValid = ranges.every((range) => MEDIA_RANGE.test(range))
  const weightOf = new Map((isValid ? ranges.reverse() : ['*/*']).map((range) => {
    const [type = '', weight = '1'] = range.split(/;q=([^;]*).*/)
    return [type, Number(weight)] // 'text/*;q=0.5' -> ['text/*', 0.5]
  }))
  const weights = offers.map(squeezed).map((offer) => {
    const [type = ''] = offer.split(';')
    const fitting = [offer, type, type.replace(/\/.*/, '/*'), '*/*']
    return weightOf.get(fitting.find((range) => weightOf.has(range)) ?? '') ?? 0
  })
  const most = Math.max(0, ...weights)
  return most > 0 ? offers[weights.indexOf(most)] ?? null : null
}

const squeezed = (text: string): string => text.replace(/\s+/g, '').toLowerCase()
const MEDIA_RANGE = // type, parameters, weight, extensions
  /^[^\s/;,]+\/[^\s/;,]+(;(?!q=)[^;=]+=[^;]+)*(;q=(0(\.\d{0,3})?|1(\.0{0,3})?)(;.*)?)?$/

// 3. Response ───────────────────────────────────────────────────────────────────────────
// Arrives: what a handler wants to say. Leaves: an object with status, headers and body
// that is itself an application: calling it calls startResponse and returns the body. So
// whatever holds a Response can pass it on, and a filter can change one that came from
// anywhere (`await req.getResponse(app)`). The answer to our request is '200 OK',
// Content-Type application/json, and one chunk, '{"id":"42"}'.

/** How a Response is made. */
export type ResponseOptions = Partially<{
  status: number | string
  body: Chunk | Body; text: string; json: unknown; appIter: Body
  headers: HeaderList | Record<string, string>
  /** Taken as it is: no default Content-Type is added. */ headerlist: HeaderList
  contentType: string; charset: string | null; contentLength: number | null
  location: string; vary: string | readonly string[]; allow: string | readonly string[]
  cacheControl: string; retryAfter: string | number; lastModified: Date
  /** The quotes may be left out. */ etag: string
}>

/** RFC 6265 section 4.1.1; `maxAge` is in seconds. */
export type CookieOptions = Partially<{
  path: string | null; domain: string | null; maxAge: number | null; expires: Date | null
  secure: boolean; httpOnly: boolean; sameSite: string | null
}>

/**
 * An answer, and an application that gives it (webob.Response).
 *
 * @example
 * const res = new Response({ status: 201, json: { id: 42 } })
 * res.status //=> '201 Created'
 * res.headers.get('Content-Type') //=> 'application/json'
 * await (await Request.blank('/').getResponse(res)).json() //=> { id: 42 }
 */
export class Response {
  static defaultContentType = 'text/html'
  static absoluteLocation = true // or as it was given (RFC 9110 section 10.2.2)
  headerlist: HeaderList
  #status = '200 OK'
  #body: Body = []

  constructor(init: ResponseOptions | Chunk = {}) {
    const options: ResponseOptions = isChunk(init) ? { body: init } : init
    const { headerlist, headers = [], json, body = '', appIter, charset } = options
    const text = json === undefined ? options.text : JSON.stringify(json)
    if (options.status !== undefined) this.status = options.status
    this.headerlist = headerlist ? [...headerlist] : []
    const mayHaveBody = !/^(1|204|205|304)/.test(this.#status)
    if (mayHaveBody && !headerlist) this.#addType(options)
    for (const [name, value] of pairsOf(headers)) {
      if (/^content-type$/i.test(name)) this.headers.set(name, value)
      else this.headerlist.push([name, value])
    }
    if (appIter) this.#body = appIter
    else if (mayHaveBody && text !== undefined) this.#put(packed(text))
    else if (mayHaveBody) this.body = charset && isChunk(body) ? toBytes(body) : body
    for (const option in options) {
      const value = options[option as keyof ResponseOptions] ?? null
      const name = HEADER_OPTIONS.get(option)
      if (name && value !== null) this.headers.set(name, headerText(name, value))
    }
  }

  #addType({ contentType, charset = 'UTF-8', json, body }: ResponseOptions): void {
    const { defaultContentType } = this.constructor as typeof Response
    const isJson = json !== undefined && body === undefined
    const type = contentType || (isJson ? JSON_TYPE : defaultContentType)
    this.headerlist.push(['Content-Type', withCharset(type, charset)])
  }

  /** '201 Created'; may be set as 201, '201' or '201 Whatever'. */
  get status(): string { return this.#status }
  set status(value: number | string) {
    const [, code, phrase] =
      /^([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(String(value)) ?? []
    if (!code) {
      throw new TypeError(`The status ${quote(value)} must be a number from 100 to 999, `
        + 'or a number, a space and a phrase, as in "404 Not Found"')
    }
    this.#status = `${code} ${phrase || reasonFor(Number(code))}`
  }
  get statusCode(): number { return Number(this.#status.slice(0, 3)) }
  set statusCode(value: number) { this.status = value }

  get headers(): Headers { return new Headers(this.headerlist) }

  /** The body as it is sent. */
  get body(): Body { return this.#body }
  set body(value: Chunk | Body) {
    if (isChunk(value)) this.#put(this.#encode(value))
    else this.appIter = value
  }
  /** The body as an iterable. Setting it drops Content-Length, and closes no old one. */
  get appIter(): Body { return this.#body }
  set appIter(value: Body) {
    if (!isIterable(value)) throw new TypeError(`body ${quote(value)} must be iterable`)
    this.#body = value
    this.contentLength = null
  }

  #put(chunk: Chunk): void {
    this.#body = [chunk]
    this.contentLength = chunk.length
  }

  #encode(chunk: Chunk): Chunk {
    if (typeof chunk !== 'string' || chunk === '') return chunk
    const type = this.headers.get('Content-Type') ?? ''
    if (type === HTML_UTF8 || CHARSET.test(type)) return packed(chunk)
    throw new TypeError(`The type ${quote(type)} has no charset: set one, or give bytes`)
  }

  /** Appends to a body that is in memory: what wsgify does with a handler's text. */
  write(chunk: Chunk): void {
    if (!(Symbol.iterator in this.#body)) throw new TypeError('A stream takes no write()')
    const chunks = [...this.#body as Iterable<Chunk>, this.#encode(chunk)]
    this.#put(joinBytes(chunks.map(toBytes)))
  }

  /** 'text/html', without parameters. Setting it drops them, and gives text a charset. */
  get contentType(): string | null {
    return this.headers.get('Content-Type')?.split(';', 1)[0]?.trim() || null
  }
  set contentType(value: string | null) {
    this.headers.set('Content-Type', value ? withCharset(value, 'UTF-8') : null)
  }
  get contentLength(): number | null {
    const length = this.headers.get('Content-Length')
    return length === null ? null : Number(length)
  }
  set contentLength(value: number | null) {
    this.headers.set('Content-Length', value === null ? null : String(value))
  }
  get location(): string | null { return this.headers.get('Location') }
  set location(value: string | null) { this.headers.set('Location', value) }

  setCookie(name: string, value: string | null = '', options: CookieOptions = {}): void {
    this.headerlist.push(['Set-Cookie', makeCookie(name, value, options)])
  }
  /** Tells the client to forget a cookie; path and domain must be as when it was set. */
  deleteCookie(name: string, options: Pick<CookieOptions, 'path' | 'domain'> = {}): void {
    this.setCookie(name, null, options)
  }

  /** The whole body, gathered if it was a stream; it stays readable. */
  async bytes(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = []
    for await (const chunk of replay(this.#body)) chunks.push(toBytes(chunk))
    const bytes = joinBytes(chunks)
    const length = this.contentLength ?? bytes.length
    const isOne = Array.isArray(this.#body) && this.#body.length === 1
    this.#body = [bytes]
    if (bytes.length > 0 && bytes.length !== length) {
      throw new Error(`Content-Length is ${length}, the body has ${bytes.length} bytes`)
    }
    if (bytes.length > 0 && !isOne) this.contentLength = length
    return bytes
  }
  async text(): Promise<string> { return toText(await this.bytes()) }
  async json(): Promise<unknown> { return JSON.parse(await this.text()) as unknown }

  __call__(environ: Environ, startResponse: StartResponse): Body {
    startResponse(this.#status, wireHeaders(this.headerlist, environ))
    if (environ.REQUEST_METHOD !== 'HEAD') return this.#body
    const reader = new BodyReader(this.#body) // GET's headers, and nothing after them
    return Object.assign([], { close: () => reader.end() })
  }
}

const JSON_TYPE = 'application/json'
const HEADER_OPTIONS = /* @__PURE__ */ new Map([['location', 'Location'],
  ['contentLength', 'Content-Length'], ['vary', 'Vary'], ['allow', 'Allow'],
  ['cacheControl', 'Cache-Control'], ['retryAfter', 'Retry-After'], ['etag', 'ETag'],
  ['lastModified', 'Last-Modified']])

function headerText(name: string, value: unknown): string {
  if (value instanceof Date) return value.toUTCString()
  const text = Array.isArray(value) ? value.join(', ') : String(value)
  return name === 'ETag' && !/^(W\/)?".*"$/.test(text) ? `"${text}"` : text
}

/** ASCII stays text: its length is known, and Node sends it together with the head. */
const packed = (text: string): Chunk => /[^\x00-\x7f]/.test(text) ? toBytes(text) : text

/** Text says its charset; JSON needs none (RFC 8259 section 11). */
function withCharset(type: string, charset: string | null): string {
  if (type === JSON_TYPE) return type
  if (type === 'text/html' && charset === 'UTF-8') return HTML_UTF8 // ready for most
  const isText = /^(text\/[^;]*|application\/xml|[^;]*\+xml)(;|$)/.test(type)
  return isText && charset && !CHARSET.test(type) ? `${type}; charset=${charset}` : type
}
const HTML_UTF8 = 'text/html; charset=UTF-8'
const CHARSET = /;\s*charset=/i

const isLocation = /* @__PURE__ */ sameName('Location')

/** A list that others may change; Location absolute, and never other than was meant. */
function wireHeaders(headers: HeaderList, environ: Environ): HeaderList {
  if (!headers.some(isLocation)) return [...headers]
  return headers.map((header) =>
    isLocation(header) ? [header[0], absoluteLocation(header[1], environ)] : header)
}

/**
 * '/new' -> 'http://localhost/new' (RFC 3986 section 5.2), respelling nothing. Tab, CR
 * and LF are dropped, as browsers do. What then starts with '//' names another host: the
 * second slash is escaped (CVE-2024-42353).
 */
function absoluteLocation(location: string, environ: Environ): string {
  const clean = location.replace(/[\t\r\n]/g, '').replace(/[\ud800-\udfff]/gu, '\ufffd')
    .replace(/[\0-\x1f\x7f\u0100-\uffff]+/g, encodeURIComponent)
    .replace(/^([/\\])([/\\])/, (both) => both === '//' ? '/%2f' : '/%5c')
  const { hostUrl, path } = new Request(environ)
  if (!Response.absoluteLocation || /^[a-z][a-z0-9+.-]*:/i.test(clean)) return clean
  if (/^([?#]|$)/.test(clean)) return hostUrl + path + clean
  const [, target = '', suffix = ''] = /^([^?#]*)(.*)$/s.exec(clean) ?? []
  const whole = (target.startsWith('/') ? '' : path.replace(/\/?[^/]*$/, '/')) + target
  const kept: string[] = []
  for (const segment of whole.replace(/(\/\.\.?)$/, '$1/').split('/').slice(1)) {
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
  }
  return `${hostUrl}/${kept.join('/')}${suffix}`
}

function makeCookie(name: string, value: string | null, options: CookieOptions): string {
  const { path = '/', domain, expires, secure, httpOnly, sameSite } = options
  const left = expires ? Math.round((expires.getTime() - Date.now()) / 1000) : undefined
  const maxAge = value === null ? 0 : options.maxAge ?? left
  const end = new Date(maxAge === 0 ? 0 : Date.now() + (maxAge ?? 0) * 1000).toUTCString()
  const isValid = /^[\w!#$%&'*+.^`|~-]+$/.test(name) && end !== 'Invalid Date'
    && /^[\x20-\x3a\x3c-\x7e\x80-\xff]*$/.test(`${path ?? ''}${domain ?? ''}`)
    && (secure ? /^(strict|lax|none)$/i : /^(strict|lax)$/i).test(sameSite ?? 'lax')
  if (!isValid) {
    throw new TypeError(`The cookie ${JSON.stringify({ name, ...options })}: give it a `
      + 'token as name, no ";" in path or domain, a valid time, sameSite strict, lax '
      + '(secure: none)')
  }
  return [
    `${name}=${quoteCookie(value ?? '')}`, domain && `Domain=${domain}`,
    maxAge !== undefined && `Max-Age=${Math.trunc(maxAge)}; Expires=${end}`,
    path && `Path=${path}`, secure && 'secure', httpOnly && 'HttpOnly',
    sameSite && `SameSite=${sameSite}`,
  ].filter(Boolean).join('; ')
}

/** Bytes that may not stand in a cookie are written in octal, and the whole is quoted. */
function quoteCookie(value: string): string {
  if (/^[\w!#$%&'()*+./:<=>?@[\]^`{|}~-]*$/.test(value)) return value
  const quoted = Array.from(encoder.encode(value), (byte) =>
    byte >= 0x20 && byte < 0x7f && !'",;\\'.includes(String.fromCharCode(byte))
      ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`)
  return `"${quoted.join('')}"`
}

/** 404 -> 'Not Found'; a code without a name takes its class's. */
function reasonFor(code: number): string {
  const generic = ['', 'Continue', 'Success', 'Multiple Choices', 'Unknown Client Error',
    'Unknown Server Error']
  return REASONS[code] ?? generic[Math.floor(code / 100)] ?? 'Unknown'
}

/** RFC 9110 section 15, and WebOb's own names. */
const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue', 101: 'Switching Protocols', 102: 'Processing', 200: 'OK',
  201: 'Created', 202: 'Accepted', 203: 'Non-Authoritative Information',
  204: 'No Content', 205: 'Reset Content', 206: 'Partial Content', 207: 'Multi Status',
  226: 'IM Used', 300: 'Multiple Choices', 301: 'Moved Permanently', 302: 'Found',
  303: 'See Other', 304: 'Not Modified', 305: 'Use Proxy', 307: 'Temporary Redirect',
  308: 'Permanent Redirect', 400: 'Bad Request', 401: 'Unauthorized',
  402: 'Payment Required', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed',
  406: 'Not Acceptable', 407: 'Proxy Authentication Required', 408: 'Request Timeout',
  409: 'Conflict', 410: 'Gone', 411: 'Length Required', 412: 'Precondition Failed',
  413: 'Request Entity Too Large', 414: 'Request URI Too Long',
  415: 'Unsupported Media Type', 416: 'Requested Range Not Satisfiable',
  417: 'Expectation Failed', 418: "I'm a teapot", 422: 'Unprocessable Entity',
  423: 'Locked', 424: 'Failed Dependency', 426: 'Upgrade Required',
  428: 'Precondition Required', 429: 'Too Many Requests',
  431: 'Request Header Fields Too Large', 451: 'Unavailable for Legal Reasons',
  500: 'Internal Server Error', 501: 'Not Implemented', 502: 'Bad Gateway',
  503: 'Service Unavailable', 504: 'Gateway Timeout', 505: 'HTTP Version Not Supported',
  507: 'Insufficient Storage', 510: 'Not Extended',
  511: 'Network Authentication Required',
}

// 4. HTTP errors ────────────────────────────────────────────────────────────────────────
// Arrives: something that a request may not have. Leaves: an Error that is also an
// application, so a handler can throw it from any depth, and wsgify answers with it.
// Accept decides whether the body is text, HTML or JSON; for /v1/servers/99 and a client
// that wants JSON it is '404 Not Found' with
//     {"code":"404 Not Found","title":"Not Found",
//      "message":"The resource could not be found."}

/** How an HTTP error is made; the client sees `detail` after the explanation. */
export type HTTPErrorOptions = Omit<ResponseOptions, 'status' | 'body'> & Partially<{
  detail: string | null; comment: string | null; explanation: string
  /** Redirects to the request's own URL with a slash added. */ addSlash: boolean
  /** A body of its own is sent as it is, whatever Accept says. */ body: Chunk
}>

/** The type of the classes in the table: `new HTTPNotFound('no such server')`. */
export type HTTPErrorClass = typeof HTTPException

/**
 * An answer that can be thrown (webob.exc.WSGIHTTPException). Each code of WebOb's has a
 * class in the table below; a code without one makes a plain HTTPException.
 *
 * @example
 * const show = wsgify(() => { throw new HTTPNotFound('no such server') })
 * const res = await Request.blank('/servers/99').getResponse(show)
 * res.status //=> '404 Not Found'
 * new HTTPException(418).title //=> "I'm a teapot"
 */
export class HTTPException extends Error {
  static readonly code: number = 500
  static readonly explanation: string = ''
  /** A title that is not the code's reason phrase. */
  static readonly title: string | undefined = undefined
  /** For the page, instead of the explanation: it names what the client asked for. */
  static readonly asked: string | undefined = undefined
  readonly code: number
  readonly headers: Headers
  readonly #options: HTTPErrorOptions

  constructor(detail?: string | number | HTTPErrorOptions, more?: HTTPErrorOptions) {
    const options = typeof detail === 'object' ? { ...detail, ...more } : { ...more }
    if (typeof detail === 'string') options.detail = detail
    super(options.detail ?? options.explanation ?? new.target.explanation)
    this.code = typeof detail === 'number' ? detail : new.target.code
    this.headers = new Headers([...pairsOf(options.headers ?? [])])
    this.#options = options
    const { location = '', addSlash } = options
    if (/[\r\n]/.test(location) || (location && addSlash)) {
      throw new TypeError(`The location ${quote(location)}: drop CR, LF, or addSlash`)
    }
  }

  get #class(): typeof HTTPException { return this.constructor as typeof HTTPException }
  override get name(): string { return this.#class.name }
  get title(): string { return this.#class.title ?? reasonFor(this.code) }
  get explanation(): string {
    return this.#options.explanation ?? this.#class.explanation
  }
  get detail(): string | null { return this.#options.detail ?? null }
  get emptyBody(): boolean { return [204, 205, 304].includes(this.code) }
  get status(): string { return `${this.code} ${this.title}` }
  get statusCode(): number { return this.code }

  __call__(environ: Environ, startResponse: StartResponse): Body {
    return this._makeResponse(environ).__call__(environ, startResponse)
  }

  /** The answer, its body chosen by Accept. A subclass may choose otherwise. */
  _makeResponse(environ: Environ): Response {
    const { body, text, json, appIter, addSlash } = this.#options
    const location = this.#options.location ?? this.headers.get('Location')
    const options: ResponseOptions = { ...this.#options, status: this.status }
    options.headers = [...this.headers]
    if (body !== undefined) options.body = toBytes(body)
    if (location !== null) options.location = absoluteLocation(location, environ)
    if (addSlash) options.location = new Request(environ).url.replace(/\?|$/, '/$&')
    const res = new Response(options)
    if (this.emptyBody) res.contentType = res.contentLength = null
    const isEmpty = this.emptyBody || environ.REQUEST_METHOD === 'HEAD'
    if (isEmpty || (body ?? text ?? json ?? appIter) !== undefined) return res
    const [type, page] = this.#page(environ, options.location)
    res.contentType = type
    res.body = toBytes(page)
    return res
  }

  /** Content type and text of the body. What a request sent is never markup. */
  #page(environ: Environ, location?: string): [contentType: string, page: string] {
    const { status, title, explanation } = this
    const { detail, comment } = this.#options
    const words: Vars = { explanation, detail: detail ?? '', comment, location }
    const { asked } = this.#class
    const next = location && /^3/.test(status) ? LINK : BREAK
    const html = (asked ?? '${explanation}') + next
      + '\n${detail}' + (comment && !asked ? '\n<!-- ${comment} -->' : '')
    const fill = (template: string, spell: (word: string) => string): string =>
      template.replace(/\$\{(\w+)\}/g, (name, key: string) =>
        spell(String(words[key] ?? environ[key] ?? name)))
    switch (bestMatch(['text/html', JSON_TYPE], environ['HTTP_ACCEPT'] ?? '')) {
      case 'text/html':
        return ['text/html', `<html>\n <head>\n  <title>${status}</title>\n </head>\n`
          + ` <body>\n  <h1>${status}</h1>\n  ${fill(html, escapeHtml)}\n </body>\n`
          + '</html>']
      case JSON_TYPE:
        return [JSON_TYPE, JSON.stringify({ code: status, title,
          message: fill(html.replace(/<[^>]*>/g, ''), String).trim() })]
      default:
        return ['text/plain', `${status}\n\n${fill(withoutTags(html), withoutTags)}`]
    }
  }
}

// As in Python's string.Template: ${...} is a word of the error, or a key of environ.
const BREAK = '<br /><br />\n'
const LINK =
  ' <a href="${location}">${location}</a>;\nyou should be redirected automatically.'

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (char) =>
  ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[char] ?? '&#x27;')

const withoutTags = (html: string): string => html.replace(/[\r\n]+/g, ' ')
  .replace(/<br[^<>]*>/g, '\n').replace(/<!--|-->|<[^<>]*>/g, '')

type ErrorKind = Partially<{ explanation: string; title: string; asked: string
  name: string; Base: HTTPErrorClass }>

/** The class for a code. Its title names it: 404 'Not Found' makes HTTPNotFound. */
function http(code: number, kind: string | ErrorKind = {}): HTTPErrorClass {
  const given: ErrorKind = typeof kind === 'string' ? { explanation: kind } : kind
  const { title, asked, name = title ?? reasonFor(code), Base = familyOf(code) } = given
  const Made = class extends Base {
    static override readonly code = code
    static override readonly explanation = given.explanation ?? Base.explanation
    static override readonly title = title
    static override readonly asked = asked
  }
  const value = `HTTP${name.replace(/^HTTP |[^A-Za-z]/g, '')}`
  return Object.defineProperty(Made, 'name', { value })
}

const familyOf = (code: number): HTTPErrorClass =>
  [HTTPOk, HTTPRedirection, HTTPClientError][Math.floor(code / 100) - 2]
    ?? HTTPServerError

// The table: codes and explanations, and a title where WebOb's is not the reason phrase.
// Each class is a const of its own, so that a bundler keeps only those in use.
export const HTTPOk: HTTPErrorClass = /* @__PURE__ */ http(200,
  { name: 'Ok', Base: HTTPException })
export const HTTPRedirection: HTTPErrorClass = /* @__PURE__ */ http(500,
  { name: 'Redirection', Base: HTTPException })
export const HTTPError: HTTPErrorClass = /* @__PURE__ */ http(500,
  { name: 'Error', Base: HTTPException })
export const HTTPClientError: HTTPErrorClass = /* @__PURE__ */ http(400,
  { name: 'ClientError', Base: HTTPError, explanation: 'The server could not comply with '
    + 'the request since it is either malformed or otherwise incorrect.' })
export const HTTPServerError: HTTPErrorClass = /* @__PURE__ */ http(500,
  { name: 'ServerError', Base: HTTPError, explanation: 'The server has either erred or '
    + 'is incapable of performing the requested operation.' })
const MOVED = 'The resource has been moved to'
export const HTTPCreated: HTTPErrorClass = /* @__PURE__ */ http(201)
export const HTTPAccepted: HTTPErrorClass = /* @__PURE__ */ http(202,
  'The request is accepted for processing.')
export const HTTPNonAuthoritativeInformation: HTTPErrorClass = /* @__PURE__ */ http(203)
export const HTTPNoContent: HTTPErrorClass = /* @__PURE__ */ http(204)
export const HTTPResetContent: HTTPErrorClass = /* @__PURE__ */ http(205)
export const HTTPPartialContent: HTTPErrorClass = /* @__PURE__ */ http(206)
export const HTTPMultipleChoices: HTTPErrorClass = /* @__PURE__ */ http(300, MOVED)
export const HTTPMovedPermanently: HTTPErrorClass = /* @__PURE__ */ http(301, MOVED)
export const HTTPFound: HTTPErrorClass = /* @__PURE__ */ http(302,
  'The resource was found at')
export const HTTPSeeOther: HTTPErrorClass = /* @__PURE__ */ http(303, MOVED)
export const HTTPNotModified: HTTPErrorClass = /* @__PURE__ */ http(304)
export const HTTPUseProxy: HTTPErrorClass = /* @__PURE__ */ http(305,
  'The resource must be accessed through a proxy located at')
export const HTTPTemporaryRedirect: HTTPErrorClass = /* @__PURE__ */ http(307, MOVED)
export const HTTPPermanentRedirect: HTTPErrorClass = /* @__PURE__ */ http(308, MOVED)
export const HTTPBadRequest: HTTPErrorClass = /* @__PURE__ */ http(400)
export const HTTPUnauthorized: HTTPErrorClass = /* @__PURE__ */ http(401,
  'This server could not verify that you are authorized to access the document you '
  + 'requested. Either you supplied the wrong credentials (e.g., bad password), or your '
  + 'browser does not understand how to supply the credentials required.')
export const HTTPPaymentRequired: HTTPErrorClass = /* @__PURE__ */ http(402,
  'Access was denied for financial reasons.')
export const HTTPForbidden: HTTPErrorClass = /* @__PURE__ */ http(403,
  'Access was denied to this resource.')
export const HTTPNotFound: HTTPErrorClass = /* @__PURE__ */ http(404,
  'The resource could not be found.')
export const HTTPMethodNotAllowed: HTTPErrorClass = /* @__PURE__ */ http(405,
  { asked: 'The method ${REQUEST_METHOD} is not allowed for this resource. ' })
export const HTTPNotAcceptable: HTTPErrorClass = /* @__PURE__ */ http(406,
  { asked: 'The resource could not be generated that was acceptable to your browser\n'
    + '(content of type ${HTTP_ACCEPT}. ' })
export const HTTPProxyAuthenticationRequired: HTTPErrorClass = /* @__PURE__ */ http(407,
  'Authentication with a local proxy is needed.')
export const HTTPRequestTimeout: HTTPErrorClass = /* @__PURE__ */ http(408,
  'The server has waited too long for the request to be sent by the client.')
export const HTTPConflict: HTTPErrorClass = /* @__PURE__ */ http(409,
  'There was a conflict when trying to complete your request.')
export const HTTPGone: HTTPErrorClass = /* @__PURE__ */ http(410,
  'This resource is no longer available. No forwarding address is given.')
export const HTTPLengthRequired: HTTPErrorClass = /* @__PURE__ */ http(411,
  'Content-Length header required.')
export const HTTPPreconditionFailed: HTTPErrorClass = /* @__PURE__ */ http(412,
  'Request precondition failed.')
export const HTTPRequestEntityTooLarge: HTTPErrorClass = /* @__PURE__ */ http(413,
  'The body of your request was too large for this server.')
export const HTTPRequestURITooLong: HTTPErrorClass = /* @__PURE__ */ http(414,
  { title: 'Request-URI Too Long',
    explanation: 'The request URI was too long for this server.' })
export const HTTPUnsupportedMediaType: HTTPErrorClass = /* @__PURE__ */ http(415,
  { asked: 'The request media type ${CONTENT_TYPE} is not supported by this server.\n' })
export const HTTPRequestRangeNotSatisfiable: HTTPErrorClass = /* @__PURE__ */ http(416,
  { title: 'Request Range Not Satisfiable',
    explanation: 'The Range requested is not available.' })
export const HTTPExpectationFailed: HTTPErrorClass = /* @__PURE__ */ http(417,
  'Expectation failed.')
export const HTTPUnprocessableEntity: HTTPErrorClass = /* @__PURE__ */ http(422,
  'Unable to process the contained instructions')
export const HTTPLocked: HTTPErrorClass = /* @__PURE__ */ http(423,
  'The resource is locked')
export const HTTPFailedDependency: HTTPErrorClass = /* @__PURE__ */ http(424,
  'The method could not be performed because the requested action dependended on another '
  + 'action and that action failed')
export const HTTPPreconditionRequired: HTTPErrorClass = /* @__PURE__ */ http(428,
  'This request is required to be conditional')
export const HTTPTooManyRequests: HTTPErrorClass = /* @__PURE__ */ http(429,
  'The client has sent too many requests in a given amount of time')
export const HTTPRequestHeaderFieldsTooLarge: HTTPErrorClass = /* @__PURE__ */ http(431,
  'The request header fields were too large')
export const HTTPUnavailableForLegalReasons: HTTPErrorClass = /* @__PURE__ */ http(451,
  { title: 'Unavailable For Legal Reasons',
    explanation: 'The resource is not available due to legal reasons.' })
export const HTTPInternalServerError: HTTPErrorClass = /* @__PURE__ */ http(500)
export const HTTPNotImplemented: HTTPErrorClass = /* @__PURE__ */ http(501,
  { asked: 'The request method ${REQUEST_METHOD} is not implemented for this server. ' })
export const HTTPBadGateway: HTTPErrorClass = /* @__PURE__ */ http(502, 'Bad gateway.')
export const HTTPServiceUnavailable: HTTPErrorClass = /* @__PURE__ */ http(503,
  'The server is currently unavailable. Please try again at a later time.')
export const HTTPGatewayTimeout: HTTPErrorClass = /* @__PURE__ */ http(504,
  'The gateway has timed out.')
export const HTTPVersionNotSupported: HTTPErrorClass = /* @__PURE__ */ http(505,
  'The HTTP version is not supported.')
export const HTTPInsufficientStorage: HTTPErrorClass = /* @__PURE__ */ http(507,
  'There was not enough space to save the resource')
export const HTTPNetworkAuthenticationRequired: HTTPErrorClass = /* @__PURE__ */ http(511,
  'Network authentication is required')

const byCode = (classes: HTTPErrorClass[]): Map<number, HTTPErrorClass> =>
  new Map(classes.map((made) => [made.code, made]))

/**
 * From a status code to its class (webob.exc.status_map).
 *
 * @example
 * statusMap.get(404)?.name //=> 'HTTPNotFound'
 */
export const statusMap: ReadonlyMap<number, HTTPErrorClass> = /* @__PURE__ */ byCode([
  HTTPOk, HTTPCreated, HTTPAccepted, HTTPNonAuthoritativeInformation, HTTPNoContent,
  HTTPResetContent, HTTPPartialContent, HTTPMultipleChoices, HTTPMovedPermanently,
  HTTPFound, HTTPSeeOther, HTTPNotModified, HTTPUseProxy, HTTPTemporaryRedirect,
  HTTPPermanentRedirect, HTTPBadRequest, HTTPUnauthorized, HTTPPaymentRequired,
  HTTPForbidden, HTTPNotFound, HTTPMethodNotAllowed, HTTPNotAcceptable,
  HTTPProxyAuthenticationRequired, HTTPRequestTimeout, HTTPConflict, HTTPGone,
  HTTPLengthRequired, HTTPPreconditionFailed, HTTPRequestEntityTooLarge,
  HTTPRequestURITooLong, HTTPUnsupportedMediaType, HTTPRequestRangeNotSatisfiable,
  HTTPExpectationFailed, HTTPUnprocessableEntity, HTTPLocked, HTTPFailedDependency,
  HTTPPreconditionRequired, HTTPTooManyRequests, HTTPRequestHeaderFieldsTooLarge,
  HTTPUnavailableForLegalReasons, HTTPInternalServerError, HTTPNotImplemented,
  HTTPBadGateway, HTTPServiceUnavailable, HTTPGatewayTimeout, HTTPVersionNotSupported,
  HTTPInsufficientStorage, HTTPNetworkAuthenticationRequired,
])

// 5. wsgify ─────────────────────────────────────────────────────────────────────────────
// Arrives: a handler, `(req) => result`. Leaves: an application. Called with environ and
// startResponse it makes the Request, runs the handler, and turns the result into an
// answer; for our request `{ id: '42' }` becomes JSON. Called with a Request it is still
// the handler and returns what the handler returns: that is how handlers are tested.
//
//   a handler may return            and the answer is
//   undefined, null                 req.response
//   a string, bytes                 req.response, with them appended to its body
//   an application                  what it answers: a Response, an HTTP error, a Router
//   an array, a plain object        JSON, as is anything that has toJSON()
//   a web-standard Response         that
//   an iterator, a stream           a streamed body
//   a promise of any of these       the same
//
// A thrown HTTP error is the answer. Cookies set on req.response go out with any answer.

/** A handler that has become an application, and can still be called as a handler. */
export interface Wsgified<A extends unknown[] = unknown[], R = unknown, Q = Request> {
  (environ: Environ, startResponse: StartResponse): Body | Promise<Body>
  (req: Q, ...args: A | []): R
  /** Calls the handler with a request made of these. */
  request(url: string, options?: BlankOptions): R
  get(url: string, options?: BlankOptions): R
  post(url: string, POST?: BlankOptions['POST'], options?: BlankOptions): R
  /** The same with another handler, or with other options. */
  clone(handler?: Handler, options?: WsgifyOptions): Wsgified
  readonly undecorated: Handler
}

/** What wsgify takes beside the handler. */
export interface WsgifyOptions<A extends unknown[] = unknown[], Q = Request> {
  /** The handler's arguments after the request, when it is called as an application. */
  args?: [...A] | undefined
  RequestClass?: (new (environ: Environ) => Q) | undefined
}
/** A handler of a subclass of Request needs that to be made. */
type Own<Q> = Request extends Q ? unknown : { RequestClass: unknown }

type Handler = (req: Request, ...args: never[]) => unknown

interface Wsgify {
  <This, F extends (this: This, req: Request, ...args: never[]) => unknown>(
    method: F, context: ClassMethodDecoratorContext<This>): F
  <F extends (req: Request, ...args: never[]) => unknown>(
    target: object, key: string | symbol, descriptor: TypedPropertyDescriptor<F>): void
  <R>(handler: (req: Request) => R, options?: undefined): Wsgified<[], R>
  <A extends unknown[], R, Q extends Request = Request>(
    handler: (req: Q, ...args: A) => R, options: WsgifyOptions<A, Q> & Own<Q>,
  ): Wsgified<A, R, Q>
  /** Makes a filter of a function (req, app, config). */
  middleware<C = Record<string, unknown>>(
    handler: (req: Request, app: Application, config: C) => unknown,
    options?: WsgifyOptions<never>): (app: Application, config?: C) => Wsgified
}

/**
 * Makes an application of a handler (webob.dec.wsgify); `wsgify.middleware` makes a
 * filter. On a method, `@wsgify` does the same where decorators are compiled.
 *
 * @example
 * const hello = wsgify((req) => `hello ${req.GET.get('name') ?? 'you'}`)
 * hello(Request.blank('/?name=Ada')) //=> 'hello Ada'
 *
 * const shout = wsgify.middleware(async (req, app) => {
 *   const res = await req.getResponse(app)
 *   res.body = (await res.text()).toUpperCase()
 *   return res
 * })
 * const res = await Request.blank('/?name=Ada').getResponse(shout(hello))
 * await res.text() //=> 'HELLO ADA'
 */
export const wsgify: Wsgify = /* @__PURE__ */ Object.assign(decorate as Wsgify, {
  middleware: (handler: Handler, options?: WsgifyOptions) =>
    (app: Application, config: unknown = {}) =>
      wsgified(handler, { ...options, args: [app, config] }),
})

/** (handler, options); as a decorator (method, context) or (target, key, descriptor). */
function decorate(
  handler: Handler, second: WsgifyOptions | object = {},
  descriptor?: { value?: unknown },
): unknown {
  if (descriptor) {
    descriptor.value = wsgified(descriptor.value as Handler, {})
    return undefined
  }
  if (typeof handler !== 'function') {
    throw new TypeError(`wsgify(${quote(handler)}): give it a function (req) => result`)
  }
  return wsgified(handler, 'kind' in second ? {} : second)
}

function wsgified(handler: Handler, options: WsgifyOptions): Wsgified {
  const { args = [], RequestClass = Request } = options
  const run = handler as (this: unknown, req: Request, ...args: unknown[]) => unknown

  function app(this: unknown, first: Environ | Request, ...rest: unknown[]): unknown {
    if (isRequest(first)) return run.call(this, first, ...rest.length > 0 ? rest : args)
    const req = new RequestClass(first)
    const start = rest[0] as StartResponse
    let result: unknown
    try {
      result = run.call(this, req, ...args)
    } catch (error) {
      result = thrown(error)
    }
    if (!isPromise(result)) return answer(req, result, start)
    return result.then((value) => answer(req, value, start),
      (error: unknown) => answer(req, thrown(error), start))
  }

  const made = app as unknown as Wsgified
  const request = (url: string, more?: BlankOptions): unknown =>
    made(Request.blank.call(RequestClass as typeof Request, url, more))
  return Object.assign(made, {
    undecorated: handler, request, get: request,
    post: (url: string, POST?: BlankOptions['POST'], more?: BlankOptions) =>
      request(url, { method: 'POST', POST, ...more }),
    clone: (other: Handler = handler, more: WsgifyOptions = {}) =>
      wsgified(other, { ...options, ...more }),
  })
}

/** A thrown HTTP error is the answer; other errors fly on to who called us. */
function thrown(error: unknown): HTTPException {
  if (isHttpError(error)) return error
  throw error
}

const isRequest = (value: unknown): value is Request =>
  typeof (value as { getResponse?: unknown }).getResponse === 'function'

const isHttpError = (error: unknown): error is HTTPException =>
  error instanceof Error && isApplication(error)

function answer(req: Request, result: unknown, startResponse: StartResponse): unknown {
  const app = toApplication(req, result)
  const cookies = req.hasResponse && app !== req.response
    ? req.response.headerlist.filter(sameName('Set-Cookie')) : []
  if (cookies.length === 0) return callApplication(app, req.environ, startResponse)
  return callApplication(app, req.environ, (status, headers, excInfo) =>
    startResponse(status, [...headers, ...cookies], excInfo))
}

/** The table at the head of this chapter. */
function toApplication(req: Request, result: unknown): Application {
  const { ResponseClass } = req.constructor as typeof Request
  const isFirst = !req.hasResponse // then there is a shorter way
  if (isFirst && typeof result === 'string') return new ResponseClass({ text: result })
  if (isApplication(result) && !isErrorClass(result)) return result
  if (isWebResponse(result)) return fromWebResponse(result)
  if (isFirst && isJson(result)) return new ResponseClass({ json: result })
  const res = req.response
  if (isChunk(result)) res.write(toBytes(result))
  else if (isJson(result)) {
    res.contentType = JSON_TYPE
    res.body = toBytes(JSON.stringify(result))
  } else if (isIterable(result) && !isMapping(result)) res.body = result
  else if (result !== undefined && result !== null) {
    throw new TypeError(`A handler returned ${quote(result)}; it may return text, bytes, `
      + 'JSON (array, object), an application, an error as an instance, chunks, nothing')
  }
  return res
}

const isErrorClass = (value: Application): boolean =>
  typeof value === 'function' && value.prototype instanceof Error

/** An array, an object without a class, or what says itself how it is written as JSON. */
function isJson(value: unknown): boolean {
  if (!isObject(value)) return false
  if (Array.isArray(value) || 'toJSON' in value) return true
  const prototype = Object.getPrototypeOf(value) as object | null
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
  return isPlain && !isIterable(value)
}

/** A Map iterates over pairs, as every mapping does: these are no chunks. */
const isMapping = (map: object): boolean =>
  'entries' in map && Symbol.iterator in map && map.entries === map[Symbol.iterator]

type WebResponse = InstanceType<typeof globalThis.Response>
const isWebResponse = (value: unknown): value is WebResponse =>
  isObject(value) && 'arrayBuffer' in value && 'status' in value

/** A web-standard Response as ours: status, every header, and the body still a stream. */
function fromWebResponse(web: WebResponse): Response {
  const headers: HeaderList = []
  web.headers.forEach((value, name) => {
    if (name !== 'set-cookie') headers.push([name, value])
  })
  for (const cookie of web.headers.getSetCookie()) headers.push(['set-cookie', cookie])
  const status = `${web.status} ${web.statusText}`.trim()
  return new Response({ status, headerlist: headers, appIter: (web.body ?? []) as Body })
}

// 6. Mapper ─────────────────────────────────────────────────────────────────────────────
// Arrives: a path, '/servers/42', and a method. Leaves: the variables of the first
// registered route that fits, { controller, action: 'show', id: '42' }; and back: from
// variables, or from a route's name, the path. A template is literal text and variables:
//   {id}          one or more characters without '/', as few as will do
//   {id:[0-9]+}   exactly what the regular expression matches (a requirement)
//   {path:.*}     the rest of the line, slashes and all, perhaps nothing
//   {.format}     '.json', giving 'json' (no '/' or '.' in it), or nothing, giving null
//   :id :(id) *path   the older spellings of {id}, {id} and {path:.+}
// The whole path must fit, its slashes as they stand; nothing is added to a template.
// {a}-{b} makes 'x' and 'y-z' of 'x-y-z': {a} takes one character, even a '-', and no
// more than it must. In {name}{.ext}, 'a.b.jpg' is 'a.b' and 'jpg'.
//
// Of the routes that fit path, method and conditions the first registered wins, whatever
// the shape of its template. (So Routes says; Routes 2.5.1 prefers longer literals.)

type Names<P extends string> = P extends `${string}{${infer Inside}}${infer Tail}`
  ? (Inside extends `${infer N}:${string}` ? N : Inside) | Names<Tail> : never
type Needed<N extends string> = // not the {32} of a requirement
  Exclude<N, `.${string}` | `${number}${string}`>
type Dotted<N extends string> = N extends `.${infer O}` ? O : never
/** '/{id:[0-9]+}/{path:.*}{.format}' -> { id: string; path: string; format?: string } */
export type PathParams<P extends string> = string extends P ? Record<string, string> : {
  [N in keyof ({ [R in Needed<Names<P>>]: 1 }
    & { [O in Dotted<Names<P>>]?: 1 })]: string
}

type Vars = Record<string, unknown>
type Requirements = Readonly<Record<string, string>>

/** What decides beside the path. The function may change the variables. */
export type Conditions = Partially<{
  method: string | readonly string[]
  /** true: there must be one; false or null: there must be none; a list: one of these. */
  subDomain: boolean | null | readonly string[]
  function: (environ: Partial<Environ>, match: Vars) => unknown
}>

/** What `connect` takes. Controller, action and every other key become the match. */
export type RouteOptions = Partially<{
  controller: unknown; action: string
  conditions: Conditions | null; requirements: Requirements
  /** Changes the variables of a URL by the route's name. */ filter: (vars: Vars) => Vars
  /** Never matches; its path, also on another host, is only made. */ static: boolean
  /** SCRIPT_NAME is not put before it. */ absolute: boolean
  redirectCode: string
}> & Vars

const ROUTE_OPTIONS = ['conditions', 'requirements', 'filter', 'static', 'absolute',
  'redirectCode', 'memberName', 'collectionName', 'parentResource']

/**
 * One line of a mapper's table: a template, its defaults and its conditions.
 *
 * @example
 * const route = new Route('server', '/servers/{id}', { action: 'show' })
 * route.defaults['action'] //=> 'show'
 */
export class Route {
  readonly name: string | null
  readonly routepath: string
  readonly options: RouteOptions
  readonly conditions: Conditions | null
  readonly requirements: Requirements
  readonly parts: readonly Part[]
  readonly defaults: Vars = new Dict()
  /** Its methods; null for every method. */ readonly methods: readonly string[] | null
  /** Whether more than path and method decides. */ readonly isGuarded: boolean
  /** Of a route made by `redirect`: the one that makes the new location. */
  redirect: Route | null = null

  constructor(name: string | null, routepath: string, options: RouteOptions = {}) {
    const { conditions = null } = options
    const method = conditions?.method
    this.name = name
    this.routepath = routepath
    this.options = options
    this.conditions = conditions
    this.methods = typeof method === 'string' ? [method] : method ?? null
    this.isGuarded = conditions !== null
      && ('subDomain' in conditions || 'function' in conditions)
    const { parts, requirements } = parseTemplate(routepath, options)
    this.parts = parts
    this.requirements = requirements
    for (const key in options) {
      const value = options[key]
      if (ROUTE_OPTIONS.includes(key) || value === undefined) continue
      const isPlain = typeof value === 'number' || typeof value === 'boolean'
      this.defaults[key] = isPlain ? String(value) : value
    }
  }

  get variables(): Variable[] { return this.parts.filter(isVariable) }
}

/** A template is made of literal text and variables; only {.format} is optional. */
type Part = string | Variable
interface Variable { name: string; pattern: string | null; isOptional: boolean }
const isVariable = (part: Part): part is Variable => typeof part !== 'string'

// What is not plain text: \{ for the character, a variable in braces, or one of the older
// kinds. A requirement balances its braces, but for \} and those in [...].
const TEMPLATE_TOKEN = /* @__PURE__ */ (() => new RegExp(String.raw`\\([\\:*{}])`
  + String.raw`|\{(\.?)([^:{}\\]*)`
  + String.raw`(?::((?:\\.|\[(?:\\.|[^\]\\])*\]|\{[^{}]*\}|[^{}[\\])*))?\}`
  + String.raw`|([:*])(?:\(([^)]*)\)|([^/,;.#{}:*-]*))|\{`, 'gs'))()

const NO_REQUIREMENTS: Requirements = {}

/** '/servers/{id}' -> ['/servers/', { name: 'id', pattern: null, isOptional: false }] */
function parseTemplate(template: string, options: RouteOptions): {
  parts: readonly Part[]; requirements: Requirements
} {
  let { requirements = NO_REQUIREMENTS } = options
  const parts: Part[] = []
  let text = ''
  let end = 0
  TEMPLATE_TOKEN.lastIndex = 0
  const next = (): RegExpExecArray | null => TEMPLATE_TOKEN.exec(template)
  for (let token = next(); token; token = next()) {
    const { 0: all, 1: escaped, 2: dot, 3: braced, 4: inline, 5: sign, index: at } = token
    const name = braced ?? token[6] ?? token[7]
    text += template.slice(end, at)
    end = at + all.length
    if (all === '{') {
      throw refused(template, at, '"{" is not closed; add "}", or write "\\{"')
    }
    if (name === undefined || (options.static && sign)) {
      text += escaped ?? all
      continue
    }
    if (inline !== undefined) {
      requirements = { ...requirements, [name]: inline.replace(/\\([\\:*{}])/g, '$1') }
    }
    if (text) parts.push(text)
    text = ''
    const required = Object.hasOwn(requirements, name) ? requirements[name]! : null
    checkVariable(template, at, parts, name, required)
    // Routes lets {controller} stand for the controllers that it scanned for: none, here.
    const usual = sign === '*' ? '.+?' : name === 'controller' ? '' : null
    parts.push({ name, pattern: required ?? usual, isOptional: dot === '.' })
  }
  text += template.slice(end)
  if (text) parts.push(text)
  return { parts: parts.slice(), requirements } // without the room that push() makes
}

function checkVariable(
  template: string, at: number, before: readonly Part[], name: string,
  required: string | null,
): void {
  if (!/^[A-Za-z_]\w*$/.test(name)) {
    throw refused(template, at, 'a variable needs a name of letters, digits and "_", not '
      + `${quote(name)}; write a backslash before a literal "{", ":" or "*"`)
  }
  if (before.some((part) => typeof part !== 'string' && part.name === name)) {
    throw refused(template, at, `{${name}} stands twice; rename one of them`)
  }
  if (required === null) return
  try {
    new RegExp(`^(?:${required})$`)
  } catch (error) {
    const { message } = error as Error
    throw refused(template, at, `the requirement ${quote(required)} is wrong: ${message}`)
  }
}

const refused = (template: string, at: number, rule: string): TypeError =>
  new TypeError(`Route template ${quote(template)}, column ${at + 1}: ${rule}`)

// How the first of many routes is found without trying them in turn. The routes that
// answer a method are numbered, and their templates form a tree. Text that they share is
// walked once; a variable before a '/', or at the end, is a gap with a node behind it (if
// it has no requirement, or one like [0-9]+, or takes all the rest); what is harder, such
// as {a}-{b}, {x:.*}/end, {id}.{format}, is one gap for all that is left of the template:
// an expression. Each node knows the lowest number at or behind it, here in brackets:
//
//   0 /servers/{id}/detail      '/servers' (0) ─┬─ '/' (0) ─┬─ 'new/' (3)
//   1 /servers/{id}.{format}                    │           │   └─ {kind} (3): route 3
//   2 /servers/{id}                             │           ├─ {id} (0): route 2
//   3 /servers/new/{kind}                       │           │   └─ '/detail' (0): route 0
//   4 /servers.{format}                         │           └─ /(..)\.(..)$/ (1): route 1
//   5 /servers/new                              └─ '.' (4)
//                                                   └─ {format} (4): route 4
//
// '/servers/42' walks '/servers' and '/', not 'new/', takes {id} = '42' to route 2, and
// looks at the expression only because 1 < 2: it could still win (there is no dot: it
// does not). A node is entered only while its number is below that of the best route
// found so far. So order decides, not shape, and most of the tree is never seen.
//
// Route 5 is not in the tree: templates without variables are looked up first. Length and
// a few characters lead to the only one that it can be; that is compared. '/servers/new'
// is route 5 so; then the tree is walked for a lower number: route 2 is, {id} = 'new'.
// All this is in one array of numbers: a look-up stays in few places of memory. It begins
// with the switch over the lengths of the paths without variables; a 0 leads nowhere.
//   node    first, n, n codes of text, end, m, m times (gap, node), switch
//   switch  mask, mask + 1 slots: slots[code & mask] is where `code` may lead, 0 nowhere;
//           another code may share the slot, so the text that is there is compared
//   fork    position, switch over the character there; ~number where one path is left
// `first` is the number in brackets: the lowest at or behind the node (routes are written
// in their order, so it is that of the first). `end`: the route that ends here, or -1.

/** A route in a table. */
class Entry {
  readonly route: Route
  readonly literal: string | null // the path, where it has no variables
  size = 0                        // how many of its variables the tree finds ...
  tail: Tail | null = null        // ... and what finds the others
  fallback = -1                   // for the same paths, if the conditions refuse; or -1
  isFirst = false                 // of a literal: find() saw it win, so it always does
  names: string[] | null = null   // of the variables that the tree finds
  controller: unknown             // its defaults: these two by themselves, because V8
  action: unknown                 // is quicker with names that it knows,
  others: unknown[] = []          // then a name, its value, the next name ...

  constructor(route: Route, literal: string | null) {
    this.route = route
    this.literal = literal
  }

  /** Fills in the names and defaults, when the first match asks for them. */
  learn(): string[] {
    const { controller, action, ...others } = this.route.defaults
    this.controller = controller
    this.action = action
    this.others = Object.entries(others).flat()
    this.names = this.route.variables.slice(0, this.size).map(({ name }) => name)
    return this.names
  }
}

/** No number: a small integer, which is quicker to compare than Infinity. */
const NONE = 0x3fffffff

/** The routes that answer a method; what was found is read before the next find(). */
class RouteTable {
  readonly entries: readonly Entry[]
  readonly gaps: readonly Gap[]
  readonly tree: Int32Array
  readonly root: number
  readonly spans: number[] = [] // start and end of each variable on the way
  readonly found: number[] = [] // the same, of the best
  best = NONE
  after = -1

  constructor(routes: readonly Route[]) {
    const writer = new TreeWriter(routes)
    this.entries = writer.entries
    this.gaps = writer.gaps
    this.root = writer.root
    this.tree = new Int32Array(writer.tree)
  }

  /** The first route to fit the path; or the first after the number that refused it. */
  find(path: string, after: number): Entry | null {
    this.after = after
    this.best = NONE
    const literal = this.findLiteral(path)
    if (literal >= 0) {
      const entry = this.entries[literal]!
      this.take(literal, 0)
      if (entry.isFirst && after < 0) return entry
    }
    this.walk(path, this.root, 0, 0)
    if (this.best === NONE) return null
    const found = this.entries[this.best]!
    if (after < 0 && this.best === literal) found.isFirst = true
    return found
  }

  findLiteral(path: string): number {
    const { tree } = this
    let fork = tree[1 + (path.length & tree[0]!)]!
    while (fork > 0 && tree[fork]! < path.length) {
      fork = tree[fork + 2 + (path.charCodeAt(tree[fork]!) & tree[fork + 1]!)]!
    }
    return fork < 0 && this.entries[~fork]!.literal === path ? ~fork : -1
  }

  /** Tries what fits at a node and behind it, as long as it can still win. */
  walk(path: string, from: number, start: number, depth: number): void {
    const { tree, spans } = this
    let node = from
    let at = start
    for (;;) {
      let i = node + 2
      const textEnd = i + tree[node + 1]!
      if (at + textEnd - i > path.length) return
      for (; i < textEnd; i++, at++) if (path.charCodeAt(at) !== tree[i]) return
      const gapsEnd = i + 2 + 2 * tree[i + 1]!
      let next = 0
      if (at === path.length) this.take(tree[i]!, depth)
      else {
        const code = path.charCodeAt(at)
        next = tree[gapsEnd + 1 + (code & tree[gapsEnd]!)]!
        const isOther = tree[next + 2] !== code // the slot may be another character's
        if (isOther || tree[next]! >= this.best) next = 0
      }
      i += 2
      if (i === gapsEnd) {
        if (next === 0) return
        node = next
        continue
      }
      if (next > 0) this.walk(path, next, at, depth)
      for (; i < gapsEnd; i += 2) {
        const behind = tree[i + 1]!
        if (tree[behind]! >= this.best) continue
        const gap = tree[i]!
        const end = gap === 0 ? segmentEnd(path, at) : this.gaps[gap]!(path, at)
        if (end < 0) continue
        spans[depth] = at
        spans[depth + 1] = end
        this.walk(path, behind, end, depth + 2)
      }
      return
    }
  }

  /** Routes end here: takes the first after `after`, if it beats the best. */
  take(end: number, depth: number): void {
    const { found, spans } = this
    let number = end
    while (number >= 0 && number <= this.after) number = this.entries[number]!.fallback
    if (number < 0 || number >= this.best) return
    this.best = number
    for (let i = 0; i < depth; i++) found[i] = spans[i]!
  }

  /** The variables of the route that was found, and its defaults. */
  variables(path: string, entry: Entry): Vars {
    const vars: Vars = new Dict()
    const { found } = this
    const names = entry.names ?? entry.learn()
    const { controller, action, others, tail } = entry
    if (controller !== undefined) vars['controller'] = controller
    if (action !== undefined) vars['action'] = action
    for (let i = 0; i < others.length; i += 2) vars[others[i] as string] = others[i + 1]
    for (let i = 0; i < names.length; i++) {
      const start = found[2 * i]!
      const end = found[2 * i + 1]!
      // An empty value does not replace a default that is not empty.
      if (start < end || !vars[names[i]!]) vars[names[i]!] = path.slice(start, end)
    }
    if (tail === null) return vars
    for (const [group, value = null] of Object.entries(tail.found?.groups ?? {})) {
      const name = group.slice(1)
      const isOwn = group.startsWith('$') // others are the requirement's
      if (isOwn && (value || !vars[name])) vars[name] = value
    }
    return vars
  }
}

/** Says where a gap in a template ends that starts at `at`; -1: it does not fit. */
type Gap = (path: string, at: number) => number

/** A variable without a requirement: up to the next '/', or the end of the path. */
const segmentEnd: Gap = (path, at) => {
  const slash = path.indexOf('/', at)
  const end = slash < 0 ? path.length : slash
  return end === at ? -1 : end
}

/** What `resource` requires of a member's id: that it does not end in a backslash. */
const MEMBER_ID = '[^/]+(?<!\\\\)'
const memberEnd: Gap = (path, at) => {
  const end = segmentEnd(path, at)
  return path[end - 1] === '\\' ? -1 : end
}

/** '.*' or '.+' at the end of a template: 0 or 1 characters at least, on one line. */
const restEnd = (least: number): Gap => (path, at) =>
  at + least > path.length || path.indexOf('\n', at) >= 0 ? -1 : path.length

/** A requirement such as '[0-9a-f]+', as a table: no expression is run. */
const setEnd = (ascii: Uint8Array, others: boolean, count: number): Gap => (path, at) => {
  let end = at
  for (; end < path.length; end++) {
    const code = path.charCodeAt(end)
    if (code < 128 ? ascii[code] === 0 : !others) break
  }
  if (end === at || (count > 0 && end - at !== count)) return -1
  return end < path.length && path[end] !== '/' ? -1 : end
}

/** The gap for a requirement; null: it takes an expression. */
function gapFor(pattern: string, isLast: boolean): Gap | null {
  const [, sign] = /^\.([*+])\??$/.exec(pattern) ?? []
  if (sign) return isLast ? restEnd(sign === '+' ? 1 : 0) : null
  if (pattern === MEMBER_ID) return memberEnd
  const [, chars, negated, count = '0'] = ONE_CLASS.exec(pattern) ?? []
  if (!chars) return null
  const one = new RegExp(chars)
  if (one.test('/')) return null // it may cross segments
  const ascii = Uint8Array.from({ length: 128 }, (_, code) =>
    Number(one.test(String.fromCharCode(code))))
  return setEnd(ascii, negated === '^', Number(count))
}

const ONE_CLASS = // \d+ \w{8} [a-z]+ [^/.]{2}, and nothing but ASCII in the brackets
  /^(\\[dw]|\[(\^?)(?:[^\]\\\u0080-\uffff]|\\[dw./\\[\]-])+\])(?:\+|\{([1-9]\d*)\})$/

/** All that is left of a template, as an expression, and what quickly says no to it. */
class Tail {
  readonly parts: readonly Part[]
  readonly needle: string     // its first text
  readonly suffix: string     // its last, where nothing follows
  readonly isSegment: boolean // it surely takes no '/'
  expression: RegExp | null = null
  found: RegExpExecArray | null = null

  constructor(parts: readonly Part[]) {
    const texts = parts.filter((part) => typeof part === 'string') as string[]
    const last = parts.at(-1)!
    this.parts = parts
    this.needle = texts[0] ?? ''
    this.suffix = isVariable(last) ? '' : last
    this.isSegment = parts.every((part) => isVariable(part) ? staysInSegment(part)
      : !part.includes('/'))
  }

  end(path: string, at: number): number {
    if (path.indexOf(this.needle, at) < 0 || !path.endsWith(this.suffix)) return -1
    if (this.isSegment && path.indexOf('/', at) >= 0) return -1
    this.expression ??= new RegExp(`${expressionOf(this.parts)}$`, 'y')
    this.expression.lastIndex = at
    this.found = this.expression.exec(path)
    return this.found ? path.length : -1
  }
}

const staysInSegment = ({ pattern }: Variable): boolean =>
  pattern === null || gapFor(pattern, false) !== null

/** A regular expression for parts of a template; its variables are groups named $id. */
const expressionOf = (parts: readonly Part[]): string => parts.map((part, at) => {
  if (typeof part === 'string') return escapeRegExp(part)
  const group = `(?<$${part.name}>${part.pattern ?? usualPattern(parts, at)})`
  return part.isOptional ? `(?:\\.${group})??` : group
}).join('')

/**
 * A variable without a requirement takes as little as it can (Routes: [^/]+?). Where only
 * such variables follow in the segment, that means: one character, then up to the next
 * literal. Saying so keeps the time linear; three times [^/]+? in a segment are cubic.
 */
function usualPattern(parts: readonly Part[], at: number): string {
  if ((parts[at] as Variable).isOptional) return '[^/.]+?'
  const slash = parts.findIndex((part, i) =>
    i > at && !isVariable(part) && part.includes('/'))
  const after = parts.slice(at + 1, slash < 0 ? undefined : slash).filter(isVariable)
  if (after.length === 0) return '[^/]+'
  const areUsual = after.every((one) => one.pattern === null && !one.isOptional)
  if (!areUsual) return '[^/]+?'
  const next = parts[at + 1]!
  if (isVariable(next)) return '[^/]'
  const literal = escapeRegExp(next)
  return next.length === 1 ? `[^/][^/${literal}]*` : `[^/](?:(?!${literal})[^/])*`
}

const escapeRegExp = (text: string): string =>
  text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')

/** Writes the tree: routes that are alike so far share what they have in common. */
class TreeWriter {
  readonly entries: Entry[] = []
  readonly gaps: Gap[] = [segmentEnd]
  readonly tree: number[] = []
  readonly root: number
  readonly #gapOf = new Map<string, number>() // by its requirement

  constructor(routes: readonly Route[]) {
    const literals = new Map<string, number>()
    const cursors: Cursor[] = []
    for (const [number, route] of routes.entries()) {
      const { parts } = route
      const literal = parts.some(isVariable) ? null : parts.join('')
      this.entries.push(new Entry(route, literal))
      const known = literal === null ? undefined : literals.get(literal)
      if (known !== undefined) this.#append(known, number)
      else if (literal !== null) literals.set(literal, number)
      else cursors.push(advance({ number, parts, part: -1, text: '' }, 0))
    }
    const byLength: Group<number>[] = []
    for (const one of literals.values()) addTo(byLength, this.#literal(one).length, one)
    this.#writeSwitch(byLength, (numbers) => this.#writeFork(numbers))
    this.root = this.#writeNode(cursors)
  }

  #literal(number: number): string { return this.entries[number]!.literal! }

  /** Adds a later route for the same paths, unless it can never be reached. */
  #append(number: number, later: number): void {
    let entry = this.entries[number]!
    while (entry.fallback >= 0) entry = this.entries[entry.fallback]!
    if (entry.route.isGuarded) entry.fallback = later
  }

  #writeSwitch<T>(groups: readonly Group<T>[], write: (items: T[]) => number): void {
    const { tree } = this
    let size = 1
    while (!areApart(groups, size)) size *= 2
    const slots = tree.push(size - 1)
    for (let i = 0; i < size; i++) tree.push(0)
    for (const { code, items } of groups) tree[slots + code % size] = write(items)
  }

  /** Paths of one length, told apart by the last character that two differ in. */
  #writeFork(numbers: readonly number[]): number {
    const number = numbers[0]!
    if (numbers.length === 1) return ~number
    const [path, other] = [this.#literal(number), this.#literal(numbers.at(-1)!)]
    let at = path.length - 1
    while (path[at] === other[at]) at--
    const fork = this.tree.push(at) - 1
    const groups: Group<number>[] = []
    for (const one of numbers) addTo(groups, this.#literal(one).charCodeAt(at), one)
    this.#writeSwitch(groups, (group) => this.#writeFork(group))
    return fork
  }

  /** Routes that were alike so far: their common text, and how they go on from there. */
  #writeNode(cursors: readonly Cursor[]): number {
    const { tree } = this
    const text = commonText(cursors)
    const node = tree.push(cursors[0]?.number ?? NONE, text.length) - 2
    for (let i = 0; i < text.length; i++) tree.push(text.charCodeAt(i))
    const end = tree.push(-1, 0) - 2
    const texts: Group<Cursor>[] = []
    const gaps: Group<Cursor>[] = []
    for (const cursor of cursors) {
      if (cursor.text) advance(cursor, text.length)
      if (cursor.text) addTo(texts, cursor.text.charCodeAt(0), cursor)
      else if (cursor.part < cursor.parts.length) addTo(gaps, this.#cross(cursor), cursor)
      else if (tree[end]! < 0) tree[end] = cursor.number
      else this.#append(tree[end]!, cursor.number)
    }
    tree[end + 1] = gaps.length
    for (const { code } of gaps) tree.push(code, 0)
    this.#writeSwitch(texts, (group) => this.#writeNode(group))
    gaps.forEach(({ items }, i) => { tree[end + 3 + 2 * i] = this.#writeNode(items) })
    return node
  }

  /** Takes a cursor over a gap. Its number is the same for the same requirement. */
  #cross(cursor: Cursor): number {
    const { number, parts, part: at } = cursor
    const entry = this.entries[number]!
    const { pattern, isOptional } = parts[at] as Variable
    const next = parts[at + 1] ?? '/'
    const fillsSegment = !isVariable(next) && next.startsWith('/') && !isOptional
    const gap = fillsSegment ? this.#gapFor(pattern, at === parts.length - 1) : -1
    if (gap >= 0) {
      entry.size++
      advance(cursor, 0)
      return gap
    }
    const tail = new Tail(parts.slice(at))
    entry.tail = tail
    cursor.part = parts.length
    return this.gaps.push((path, from) => tail.end(path, from)) - 1
  }

  /** The number of the gap for a requirement; -1 if it takes an expression. */
  #gapFor(pattern: string | null, isLast: boolean): number {
    if (pattern === null) return 0
    const key = `${pattern} ${isLast}`
    let number = this.#gapOf.get(key)
    if (number === undefined) {
      const gap = gapFor(pattern, isLast)
      number = gap ? this.gaps.push(gap) - 1 : -1
      this.#gapOf.set(key, number)
    }
    return number
  }
}

/** A route on its way into the tree: the part at which it is, and what text is left. */
interface Cursor { number: number; parts: readonly Part[]; part: number; text: string }

/** Takes a cursor over so many characters; from the end of a part to the next one. */
function advance(cursor: Cursor, length: number): Cursor {
  cursor.text = cursor.text.slice(length)
  if (cursor.text !== '') return cursor
  cursor.part++
  const part = cursor.parts[cursor.part]
  if (part && !isVariable(part)) cursor.text = part
  return cursor
}

/** The text that is next on all of these; '' where one is at a gap, or at its end. */
function commonText(cursors: readonly Cursor[]): string {
  const first = cursors[0]?.text ?? ''
  let { length } = first
  for (const { text } of cursors) {
    let same = 0
    while (same < length && first[same] === text[same]) same++
    length = same
  }
  return first.slice(0, length)
}

/** Things of one code: a character's, a length, the number of a gap. */
interface Group<T> { code: number; items: T[] }

function addTo<T>(groups: Group<T>[], code: number, item: T): void {
  const group = groups.find((one) => one.code === code)
  if (group) group.items.push(item)
  else groups.push({ code, items: [item] })
}

/** Whether each of these has a slot of its own, if there are so many. */
const areApart = (groups: readonly Group<unknown>[], slots: number): boolean =>
  groups.every(({ code }, at) => groups.findIndex((one) =>
    (one.code - code) % slots === 0) === at)

/** What a mapper takes. */
export type MapperOptions = Partially<{
  /** Every path must start with it; it is cut off, and put before what is generated. */
  prefix: string | null
  subDomains: boolean; subDomainsIgnore: readonly string[]
  /** A regular expression for what comes after the sub-domain: 'example[.]test'. */
  domainMatch: string
  /** Generated paths end in a slash. */ appendSlash: boolean
}>

/** What `resource` takes beside the names; more actions are given with their methods. */
export type ResourceOptions = Partially<{
  controller: unknown
  /** { detail: 'GET' } is GET /servers/detail. */
  collection: Readonly<Record<string, string>>
  /** { action: 'POST' } is POST /servers/{id}/action. */
  member: Readonly<Record<string, string>>
  /** { preview: 'POST' } is POST /servers/new/preview. */
  new: Readonly<Record<string, string>>
  parentResource: { memberName: string; collectionName: string } | null
  pathPrefix: string | null; namePrefix: string | null
  requirements: Requirements; filter: RouteOptions['filter']
}>

type MatchEnviron = Partial<Environ> | null | undefined

/** Why one route did or did not match. */
export interface RouteExplanation {
  route: Route; matched: boolean; reason: string
  /** An earlier route that takes all of its paths and methods. */ coveredBy: Route | null
}

/** Route options that many routes share, and what stands before their paths and names. */
export type SubMapperOptions = RouteOptions & { pathPrefix?: string; namePrefix?: string }

/**
 * A table of routes (routes.Mapper 2.5; explicit, without minimization or route memory).
 *
 * @example
 * const mapper = new Mapper()
 * mapper.connect('server', '/servers/{id:[0-9]+}', { action: 'show' })
 * mapper.connect('/servers/{name}', { action: 'find' })
 * mapper.match('/servers/42') //=> { id: '42', action: 'show' }
 * mapper.match('/servers/web') //=> { name: 'web', action: 'find' }
 * mapper.generate('server', { id: 42 }) //=> '/servers/42'
 */
export class Mapper {
  /** The routes that can match, in order: the first that fits wins. */
  readonly matchlist: Route[] = []
  readonly options: MapperOptions
  readonly #named = new Map<string, Route>()
  readonly #tables = new Map<string, RouteTable>()
  #matched: Route | null = null

  constructor(options: MapperOptions = {}) { this.options = options }

  /** Adds a route: (path, options) or (name, path, options). */
  connect(path: string, options?: RouteOptions): Route
  connect(name: string | null, path: string, options?: RouteOptions): Route
  connect(first: string | null, second: string | RouteOptions = {}, third = {}): Route {
    return typeof second === 'string' ? this._connect(first, second, third)
      : this._connect(null, first as string, second)
  }

  /** Routes that share options, or prefixes of path and name: `sub.connect('/x')`. */
  submapper(options: SubMapperOptions): Mapper { return new SubMapper(this, options) }

  _connect(name: string | null, path: string, options: RouteOptions): Route {
    const route = this._makeRoute(name || null, path, options)
    if (route.name !== null) this.#named.set(route.name, route)
    if (options.static) return route
    this.matchlist.push(route)
    this.#tables.clear()
    return route
  }

  /** A seam: a subclass may make routes of its own. */
  _makeRoute(name: string | null, path: string, options: RouteOptions): Route {
    return new Route(name, path, options)
  }

  /** Adds copies of routes, below a prefix. */
  extend(routes: readonly Route[], pathPrefix = ''): void {
    for (const { name, routepath: path, options } of routes) {
      this.connect(name, pathPrefix + path, options)
    }
  }

  /** A route that RoutesMiddleware answers by sending the client to another template. */
  redirect(from: string, to: string, options: RouteOptions = {}): void {
    const { filter, redirectCode = '302 Found', ...matching } = options
    const route = this.connect(from, { ...matching, redirectCode })
    route.redirect = this._makeRoute(null, to, { static: true, filter })
  }

  /** The variables of the first route that fits, with its defaults; null if none does. */
  match(url?: string | null, environ?: MatchEnviron): Vars | null {
    const path = this.#path(url, environ)
    if (path === null) return null
    const table = this.#table(environ?.REQUEST_METHOD)
    for (let entry = table.find(path, -1); entry;) {
      const { best } = table // the route's function may ask this table, too
      const vars = table.variables(path, entry)
      if (this.options.subDomains) vars['sub_domain'] = this.#subDomain(environ)
      const isWanted = !entry.route.isGuarded
        || this.#objection(entry.route, vars, environ) === null
      this.#matched = entry.route
      if (isWanted) return vars
      entry = table.find(path, best)
    }
    return null
  }

  /** The same, with the route. Without environ every method will do. */
  routematch(url?: string | null, environ?: MatchEnviron): [Vars, Route] | null {
    const vars = this.match(url, environ)
    return vars && [vars, this.#matched as Route]
  }

  /** The path without the prefix; null if it does not start with it. */
  #path(url: string | null | undefined, environ: MatchEnviron): string | null {
    const path = url ?? environ?.PATH_INFO
    const { prefix } = this.options
    if (path === undefined) throw new TypeError('match() needs a path, or PATH_INFO')
    if (!prefix) return path
    return path.startsWith(prefix) ? path.slice(prefix.length) || '/' : null
  }

  /** The table for a method, made when it is first asked for. */
  #table(method = ''): RouteTable {
    const table = this.#tables.get(method)
    if (table) return table
    const isKnown = method === ''
      || this.matchlist.some(({ methods }) => methods?.includes(method))
    // Those that no route names share one: clients could invent names without end.
    if (!isKnown && method !== 'other') return this.#table('other')
    const made = new RouteTable(this.matchlist.filter(({ methods }) =>
      method === '' || methods === null || methods.includes(method)))
    this.#tables.set(method, made)
    return made
  }

  /** Why a route does not want the request though its path and method fit, or null. */
  #objection(route: Route, vars: Vars, environ: MatchEnviron): string | null {
    const { subDomain, function: admits } = route.conditions ?? {}
    const own = this.options.subDomains ? this.#subDomain(environ) : null
    if (subDomain && !own) return 'it needs a sub-domain'
    if (own && (subDomain === false || subDomain === null)) {
      return `it does not allow the sub-domain ${quote(own)}`
    }
    if (Array.isArray(subDomain) && !subDomain.includes(own)) {
      return `the sub-domain ${quote(own)} is none of ${quote(subDomain)}`
    }
    return !admits || admits(environ ?? {}, vars) ? null : 'its function said no'
  }

  #subDomain(environ: MatchEnviron): string | null {
    const [sub] = this.#domains(environ?.['HTTP_HOST'] ?? '')
    return sub === null || this.options.subDomainsIgnore?.includes(sub) ? null : sub
  }

  /** 'a.example.test:80' -> ['a', 'example.test', ':80'] */
  #domains(host: string): [sub: string | null, domain: string, port: string] {
    const [, name = '', port = ''] = /^([^:]*)(:.*)?$/.exec(host) ?? []
    const ending = this.options.domainMatch ?? '[^./]+?\\.[^./]+?'
    const found = new RegExp(`^(.+?)\\.(${ending})$`).exec(name)
    return [found?.[1] ?? null, found?.[2] ?? name, port]
  }

  /** The host for a URL on a sub-domain; null where the request's own will do. */
  hostFor(environ: Partial<Environ>, subDomain: unknown): string | null {
    const host = environ['HTTP_HOST'] || (environ.SERVER_NAME ?? '')
    const [sub, domain, port] = this.#domains(host)
    const wanted = String(subDomain ?? '')
    if (wanted === '' || this.options.subDomainsIgnore?.includes(wanted)) {
      return sub === null ? null : domain + port
    }
    return sub === wanted ? null : `${wanted}.${domain}${port}`
  }

  /** For each route, why it did or did not match; String() of the list is a text. */
  explain(url?: string | null, environ?: MatchEnviron): RouteExplanation[] {
    const path = this.#path(url, environ)
    const winner = this.routematch(url, environ)?.[1]
    const texts = this.matchlist.map(templateOf)
    const covers = this.matchlist.map(coverOf)
    const list = this.matchlist.map((route, at): RouteExplanation => {
      const coveredBy = this.matchlist.find((one, i) => i < at && takesMethods(one, route)
        && (texts[i] === texts[at] || covers[i]?.test(texts[at]!))) ?? null
      const never = coveredBy && `it never can, ${lineOf(coveredBy)} takes all of it`
      const late = winner && winner !== route ? `; ${lineOf(winner)} is first` : ''
      const reason = this.#refusal(route, path, environ) ?? `it fits${late}`
      return { route, matched: route === winner, coveredBy,
        reason: never ? `${reason}; ${never}` : reason }
    })
    return Object.assign(list, { toString: () => list.map(({ route, matched, reason }) =>
      `${matched ? '->' : '  '} ${lineOf(route)}: ${reason}`).join('\n') })
  }

  #refusal(route: Route, path: string | null, environ: MatchEnviron): string | null {
    if (path === null) return `the path does not start with ${quote(this.options.prefix)}`
    const method = environ?.REQUEST_METHOD
    if (method !== undefined && route.methods && !route.methods.includes(method)) {
      return `the method ${method} is none of ${route.methods.join(', ')}`
    }
    const table = new RouteTable([route])
    const entry = table.find(path, -1)
    return entry ? this.#objection(route, table.variables(path, entry), environ)
      : misfit(route, path)
  }

  /** The route of this name. */
  named(name: string): Route | undefined { return this.#named.get(name) }

  /**
   * The path for a route's name, or (name null) for the best route that these variables
   * fit; null if there is none. Variables that are not in the path become the query.
   */
  generate(
    name: string | null, vars: Vars = {}, environ: Partial<Environ> = {},
  ): string | null {
    if (name !== null) {
      const route = this.#named.get(name)
      return route ? this.build(route, ownVars(route, vars), environ) : null
    }
    for (const route of this.#candidates(vars)) {
      const path = this.build(route, vars, environ)
      if (path !== null) return path
    }
    return null
  }

  /** The path of just this route, below the prefix and SCRIPT_NAME. */
  build(route: Route, vars: Vars, environ: Partial<Environ>): string | null {
    const path = buildPath(route, vars, this.options.appendSlash)
    if (path === null) return null
    const isBare = route.options.absolute || isExternal(route)
    const script = isBare ? '' : quoteUrl(environ.SCRIPT_NAME ?? '')
    return script + (this.options.prefix ?? '') + path
  }

  /** Routes whose variables are all given: the closest set of variables first. */
  #candidates(vars: Vars): Route[] {
    const given = Object.keys(vars)
    return this.matchlist.flatMap((route) => {
      const { variables, defaults } = route
      const inPath = variables.map(({ name }) => name)
      const isMissing = variables.some(({ isOptional, name }) =>
        !isOptional && !(name in vars))
      const isOther = Object.entries(defaults).some(([key, value]) =>
        value !== null && !inPath.includes(key) && !isSame(vars[key], value)
        && (vars[key] || key === 'controller' || key === 'action'))
      if (isMissing || isOther) return []
      const all = new Set([...Object.keys(defaults), ...inPath])
      const common = given.filter((key) => all.has(key)).length
      return [{ route, common, apart: all.size + given.length - 2 * common }]
    }).sort((a, b) => a.apart - b.apart || b.common - a.common).map(({ route }) => route)
  }

  /**
   * The seven actions of a REST resource, and what `collection`, `member` and `new` add;
   * each path also with a mandatory '.format' (routes.Mapper.resource).
   *
   * @example
   * const mapper = new Mapper()
   * mapper.resource('server', 'servers', { member: { action: 'POST' } })
   * mapper.match('/servers/42', { REQUEST_METHOD: 'GET' })
   * //=> { controller: 'servers', action: 'show', id: '42' }
   * mapper.generate('action_server', { id: 42 }) //=> '/servers/42/action'
   */
  resource(
    memberName: string, collectionName: string, options: ResourceOptions = {},
  ): void {
    const { parentResource, requirements, filter } = options
    const { collectionName: parents, memberName: parent = '' } = parentResource ?? {}
    const above = options.pathPrefix ?? (parent && `${parents}/:${parent}_id`)
    const prefix = options.namePrefix ?? (parent && `${parent}_`)
    const own = stripSlashes(collectionName)
    const path = above ? `/${stripSlashes(above)}/${own}` : `/${own}`
    const memberPath = `${path}/:(id)`
    const { controller = own } = options
    const add = (method: string, action: string, path: string, name = ''): void => {
      const isMember = path.startsWith(memberPath)
      const route = { controller, action, conditions: { method: [method] }, filter,
        memberName, collectionName, parentResource,
        requirements: isMember ? { id: MEMBER_ID, ...requirements } : requirements }
      this.connect(name && `formatted_${name}`, `${path}.:(format)`, route)
      this.connect(name, path, route)
    }
    // The first action of a method may own the path itself: added last, without a name.
    const addAll = (
      actions: Map<string, string[]>, path: string, ending: string, withoutOwner: RegExp,
    ): void => {
      for (const [method, names] of actions) {
        const owner = withoutOwner.test(method) ? undefined : names.shift()
        for (const one of names) {
          add(method, one, `${path}/${one}`, `${prefix}${one}_${ending}`)
        }
        if (owner !== undefined) add(method, owner, path)
      }
    }
    const collection = byMethod(options.collection, {}, { POST: 'create' })
    addAll(collection, path, collectionName, /^GET$/)
    add('GET', 'index', path, prefix + collectionName)
    for (const [method, names] of byMethod(options.new, { new: 'GET' }, {})) {
      for (const one of names) {
        const [ending, start] = one === 'new' ? ['', ''] : [`/${one}`, `${one}_`]
        add(method, one, `${path}/new${ending}`, `${prefix}${start}new_${memberName}`)
      }
    }
    const owners = { PUT: 'update', DELETE: 'delete' }
    addAll(byMethod(options.member, { edit: 'GET' }, owners), memberPath, memberName,
      /^(GET|POST)$/)
    add('GET', 'show', memberPath, prefix + memberName)
  }

  /** The table as Routes prints it. */
  toString(): string {
    const rows = [['Route name', 'Methods', 'Path', 'Controller', 'action'],
      ...this.matchlist.map(({ name, methods, routepath, defaults }) =>
        [name ?? '', methods?.join(', ') ?? '', routepath,
          label(defaults['controller']), label(defaults['action'])])]
    const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
    return rows.map((row) =>
      row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' ')).join('\n')
  }
}

const stripSlashes = (path: string): string => path.replace(/^\/+|\/+$/g, '')

/** { detail: 'GET' } as GET -> ['detail']; `more` joins the end, `owners` stand first. */
function byMethod(
  actions: Readonly<Record<string, string>> = {}, more: Record<string, string>,
  owners: Record<string, string>,
): Map<string, string[]> {
  const methods = new Map<string, string[]>()
  for (const [action, method] of Object.entries({ ...actions, ...more })) {
    const key = method.toUpperCase()
    methods.set(key, [...methods.get(key) ?? [], action])
  }
  for (const [method, action] of Object.entries(owners)) {
    methods.set(method, [action, ...methods.get(method) ?? []])
  }
  return methods
}

const label = (value: unknown): string => typeof value === 'function' ? value.name
  : isObject(value) ? value.constructor?.name ?? '' : String(value ?? '')

const lineOf = ({ methods, routepath }: Route): string =>
  `${methods?.join() ?? 'any method'} ${routepath}`

/** Which part of its template a path does not fit, in words. */
function misfit({ parts }: Route, path: string): string {
  let fitted = ''
  for (const [at, part] of parts.entries()) {
    const start = new RegExp(`^${expressionOf(parts.slice(0, at + 1))}`).exec(path)?.[0]
    if (start === undefined) {
      const rest = path.slice(fitted.length)
      return `${rest ? `${quote(rest)} does not fit` : 'it ends before'} ${
        quote(typeof part === 'string' ? part : `{${part.name}}`)}`
    }
    fitted = start
  }
  return `${quote(path.slice(fitted.length))} is left over`
}

const takesMethods = ({ methods, isGuarded }: Route, other: Route): boolean =>
  !isGuarded && (!methods || !!other.methods?.every((one) => methods.includes(one)))

/** A template without names: '/servers/{}'; what may cross a '/' is written with some. */
const templateOf = ({ parts }: Pick<Route, 'parts'>): string => parts.map((part) => {
  if (typeof part === 'string') return part
  const { pattern, isOptional } = part
  return staysInSegment(part) && !isOptional ? `{${pattern ?? ''}}` : `{/${pattern}/}`
}).join('')

/** An expression for templateOf(): of routes that match only where this one does, too. */
const coverOf = ({ parts }: Route): RegExp => new RegExp(`^${parts.map((part, at) => {
  if (typeof part === 'string') return escapeRegExp(part)
  if (part.pattern === '.*' && at === parts.length - 1) return '.*'
  const isFree = !part.isOptional && (part.pattern === null || part.pattern === MEMBER_ID)
  return isFree ? '(?<=/)[^/]+(?=/|$)' : escapeRegExp(templateOf({ parts: [part] }))
}).join('')}$`, 's')

const isSame = (a: unknown, b: unknown): boolean =>
  a === b || (typeof b === 'string' && typeof a !== 'object' && String(a) === b)

const isExternal = ({ options, routepath }: Route): boolean =>
  options.static === true && routepath.includes('://')

/** A route's defaults, what is given, and what its filter makes of them. */
function ownVars({ defaults, options: { filter } }: Route, vars: Vars): Vars {
  const all = { ...defaults, ...vars }
  return filter ? filter(all) : all
}

/** A path from a route's template and these variables; null where they do not fit. */
function buildPath(route: Route, given: Vars, appendSlash = false): string | null {
  const { methods, defaults, requirements } = route
  const { method, ...vars } = given
  if (method && methods && !methods.includes(String(method).toUpperCase())) return null
  const inPath = route.variables.map(({ name }) => name)
  for (const [key, value] of Object.entries(defaults)) {
    if (!inPath.includes(key) && !isSame(vars[key], value)) return null
  }
  for (const [key, pattern] of Object.entries(requirements)) {
    if (vars[key] && !new RegExp(`^(?:${pattern})$`).test(String(vars[key]))) return null
  }
  let path = ''
  for (const part of route.parts) {
    const value = typeof part === 'string' ? part : vars[part.name] ?? null
    if (typeof part === 'string') path += part
    else if (value !== null) path +=
      (part.isOptional && value !== '' ? '.' : '') + quoteUrl(value)
    else if (!part.isOptional) return null
  }
  if (!path.startsWith('/') && !route.options.static) path = `/${path}`
  if (appendSlash && !path.endsWith('/')) path += '/'
  const extras = Object.entries(vars).filter(([key]) => !inPath.includes(key)
    && !(key in defaults) && key !== 'controller' && key !== 'action')
  return path + queryOf(extras).replaceAll('%20', '+').replaceAll('/', '%2F')
}

/** Letters, digits and '_.-~/' stay; the rest is percent-encoded UTF-8. */
const quoteUrl = (value: unknown): string =>
  encodeURIComponent(String(value).replace(/[\ud800-\udfff]/gu, '\ufffd'))
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%2F', '/')

/** '?a=1&b=2&b=3' of pairs; null is left out, a list repeats its key. */
function queryOf(pairs: [string, unknown][]): string {
  const fields = pairs.flatMap(([key, value]) => (Array.isArray(value) ? value : [value])
    .filter((one) => one !== null && one !== undefined)
    .map((one) => `${quoteUrl(key)}=${quoteUrl(one)}`))
  return fields.length > 0 ? `?${fields.join('&')}` : ''
}

/** Part of a mapper: prefixes concatenate, the outer first; other options are shared. */
class SubMapper extends Mapper {
  readonly #parent: Mapper
  readonly #shared: SubMapperOptions

  constructor(parent: Mapper, shared: SubMapperOptions) {
    super()
    this.#parent = parent
    this.#shared = shared
  }

  override _connect(name: string | null, path: string, own: RouteOptions): Route {
    const { pathPrefix = '', namePrefix, ...shared } = this.#shared
    const options: RouteOptions = { ...shared, ...own }
    for (const [key, value] of Object.entries(own)) {
      const base = shared[key]
      if (isDictionary(base) && isDictionary(value)) options[key] = { ...base, ...value }
    }
    // Without a name the path is the name, but not below a name prefix (as in Routes).
    const fullName = namePrefix === undefined ? name ?? path : name && namePrefix + name
    return this.#parent._connect(fullName, pathPrefix + path, options)
  }
}

const isDictionary = (value: unknown): value is Vars =>
  isObject(value) && Object.getPrototypeOf(value) === Object.prototype

/**
 * Thrown where no URL can be made of a name and variables.
 *
 * @example
 * const mapper = new Mapper()
 * mapper.connect('server', '/servers/{id}')
 * new URLGenerator(mapper).url('server') //=> throws /no URL for "server"/
 */
export class GenerationError extends Error {
  override get name(): string { return 'GenerationError' }
}

/**
 * URLs as seen from a request: with its SCRIPT_NAME, and its host where that is asked for
 * (routes.util.URLGenerator). `environ['routes.url']` is one.
 *
 * @example
 * const mapper = new Mapper()
 * mapper.connect('server', '/servers/{id}')
 * const urls = new URLGenerator(mapper, { SCRIPT_NAME: '/v1', HTTP_HOST: 'api.test' })
 * urls.url('server', { id: 42, detail: 1 }) //=> '/v1/servers/42?detail=1'
 * urls.url('server', { id: 42, qualified: true }) //=> 'http://api.test/v1/servers/42'
 */
export class URLGenerator {
  readonly mapper: Mapper
  readonly environ: Partial<Environ>

  constructor(mapper: Mapper, environ: Partial<Environ> = {}) {
    this.mapper = mapper
    this.environ = environ
  }

  /**
   * The URL for a route's name; an unknown name is a raw URL. `qualified`, `host`,
   * `protocol` and `anchor` are no variables; `host_` and `anchor_` are, without the '_'.
   */
  url(name: string | null, vars: Vars = {}): string {
    const { qualified, protocol, anchor, host, ...rest } = vars
    for (const key of ['host_', 'anchor_']) {
      if (key in rest) rest[key.slice(0, -1)] = rest[key]
      delete rest[key]
    }
    const asked = { qualified, protocol, anchor, host }
    const route = name === null ? undefined : this.mapper.named(name)
    if (name !== null && !route) {
      const script = name.startsWith('/') ? quoteUrl(this.environ.SCRIPT_NAME ?? '') : ''
      return this.#complete(script + name + queryOf(Object.entries(rest)), asked)
    }
    const all = route ? ownVars(route, rest) : rest
    const { _anchor, _host, _protocol, ...own } = all // a filter may set these
    const subHost = this.#subDomainHost(route, own)
    const path = route ? this.mapper.build(route, own, this.environ)
      : this.mapper.generate(null, own, this.environ)
    if (path === null) {
      throw new GenerationError(`There is no URL for ${quote(name)} with `
        + `${JSON.stringify(rest)}: give every variable of the template, as required`)
    }
    return this.#complete(path, { qualified, protocol: protocol ?? _protocol,
      anchor: anchor ?? _anchor, host: host ?? _host ?? subHost })
  }

  /** The same, from the variables of the current request on; null takes one away. */
  current(name: string | null = null, vars: Vars = {}): string {
    const memory = this.environ['wsgiorg.routing_args']?.[1] ?? {}
    const all = Object.entries({ ...memory, ...vars })
    return this.url(name, Object.fromEntries(all.filter(([, value]) => value !== null)))
  }

  /** Takes the variable sub_domain away where it becomes part of the host. */
  #subDomainHost(route: Route | undefined, vars: Vars): string | null {
    const isAsked = route ? !isExternal(route) : 'sub_domain' in vars
    if (!this.mapper.options.subDomains || !isAsked) return null
    const host = this.mapper.hostFor(this.environ, vars['sub_domain'])
    if (!route || !('sub_domain' in route.defaults)) delete vars['sub_domain']
    return host
  }

  #complete(path: string, { qualified, protocol, anchor, host }: Vars): string {
    const url = path + ((anchor ?? null) === null ? '' : `#${quoteUrl(anchor)}`)
    if (!host && (protocol ?? null) === null && !qualified) return url
    const { SERVER_NAME: name = '', SERVER_PORT: port = '' } = this.environ
    const scheme = this.environ['wsgi.url_scheme'] ?? 'http'
    const isUsual = port === (scheme === 'https' ? '443' : '80')
    const own = this.environ['HTTP_HOST'] || (isUsual ? name : `${name}:${port}`)
    const target = host || (qualified ? own : own.replace(/:\d*$/, ''))
    const start = protocol === '' ? '' : `${String(protocol ?? scheme)}:`
    return `${start}//${String(target).replace(/\/$/, '')}/${url.replace(/^\/+/, '')}`
  }
}

// 7. Routing apps ───────────────────────────────────────────────────────────────────────
// Arrives: environ with PATH_INFO '/servers/42'. Leaves: the same environ with the match
// in `wsgiorg.routing_args`, handed to the application that it names. Router matches and
// dispatches, Resource turns actions into method calls, URLMap mounts whole applications:
// it is why '/v1/servers/42' has become SCRIPT_NAME '/v1' and PATH_INFO '/servers/42'.

type RouteHandler<P extends string> = (req: Request, params: PathParams<P>) => unknown
type Verb<Self> = <P extends string>(template: P, handler: RouteHandler<P>) => Self

/** The match names an application; what a handler returns, wsgify calls (chapter 5). */
const dispatch: Wsgified<[], unknown> = /* @__PURE__ */ wsgify((req) => {
  const { controller = new HTTPNotFound() } = req.urlvars
  if (isApplication(controller)) return controller
  throw new TypeError(`The route ${req.environ['routes.route']?.routepath} has ${
    quote(controller)} as controller; give connect() an application`)
})

/**
 * Sends each request to the controller of its route (nova.wsgi.Router). A path without
 * the method is 405, HEAD falls back to GET, OPTIONS answers Allow.
 *
 * @example
 * const router = new Router()
 * router.get('/servers/{id}', (req, { id }) => ({ id }))
 * await (await Request.blank('/servers/42').getResponse(router)).json() //=> { id: '42' }
 * const res = await Request.blank('/servers/42', { method: 'PUT' }).getResponse(router)
 * [res.statusCode, res.headers.get('Allow')] //=> [405, 'GET, HEAD, OPTIONS']
 */
export class Router {
  static readonly _dispatch: Wsgified<[], unknown> = dispatch // tsc drops PURE here
  readonly map: Mapper
  readonly _router: RoutesMiddleware

  /** `methodNotAllowed: false`, as nova: 404 where a path is known but not its method. */
  constructor(map: Mapper = new Mapper(), options: { methodNotAllowed?: boolean } = {}) {
    const { _dispatch } = this.constructor as typeof Router
    this.map = map
    this._router = new RoutesMiddleware((environ, startResponse) => {
      const isUnknown = !environ['routes.route'] && options.methodNotAllowed !== false
      const refusal = isUnknown ? this.#refusal(environ) : null
      return callApplication(refusal ?? _dispatch, environ, startResponse)
    }, map)
  }

  __call__(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    return this._router.__call__(environ, startResponse)
  }

  /** The answer where other methods match; null: dispatching goes on, to GET or a 404. */
  #refusal(environ: Environ): Application | null {
    const { REQUEST_METHOD: method } = environ
    if (method === 'HEAD' && this._router.route(environ, 'GET')) return null
    const known = new Set(this.map.matchlist.flatMap(({ methods }) => methods ?? []))
    const allowed = new Set([...known].filter((other) =>
      this.map.match(null, { ...environ, REQUEST_METHOD: other })))
    if (allowed.size === 0) return null
    if (allowed.has('GET')) allowed.add('HEAD')
    const allow = [...allowed.add('OPTIONS')].join(', ')
    return method === 'OPTIONS' ? new Response({ allow })
      : new HTTPMethodNotAllowed({ headers: [['Allow', allow]] })
  }

  /** Adds a route to an application, with constants (WebOb's do-it-yourself Router). */
  addRoute(template: string, controller: Application, vars: Vars = {}): this {
    this.map.connect(template, { ...vars, controller })
    return this
  }

  /** Mounts an application: '/admin/users' reaches it as '/users'. */
  mount(prefix: string, app: Application): this {
    const base = prefix.replace(/\/+$/, '')
    if (base) this.map.connect(base, { controller: app, path_info: '' })
    this.map.connect(`${base}/{path_info:.*}`, { controller: app })
    return this
  }

  readonly get: Verb<this> = (path, handler) => this.#add('GET', path, handler)
  readonly post: Verb<this> = (path, handler) => this.#add('POST', path, handler)
  readonly put: Verb<this> = (path, handler) => this.#add('PUT', path, handler)
  readonly patch: Verb<this> = (path, handler) => this.#add('PATCH', path, handler)
  readonly delete: Verb<this> = (path, handler) => this.#add('DELETE', path, handler)

  #add<P extends string>(method: string, template: P, handler: RouteHandler<P>): this {
    if (typeof handler !== 'function') {
      throw new TypeError(`The handler of ${method} ${quote(template)} must be a function`
        + ` (req, params), not ${quote(handler)}; addRoute() takes an application`)
    }
    const controller = wsgify((req) => handler(req, paramsOf(req) as PathParams<P>))
    const vars = { controller, conditions: { method: [method] } }
    const { variables } = this.map.connect(template, vars)
    if (variables.every(({ name }) => name !== 'controller')) return this
    throw new TypeError(`${quote(template)}: {controller} names the handler; rename it`)
  }
}

/** The variables without the controller, and without a {.format} that is not there. */
function paramsOf(req: Request): Vars {
  const { urlvars: vars } = req
  const params: Vars = new Dict()
  for (const name in vars) {
    if (name !== 'controller' && vars[name] !== null) params[name] = vars[name]
  }
  return params
}

/**
 * Matches a path, notes the result in environ, calls the application (routes.middleware).
 *
 * @example
 * const mapper = new Mapper()
 * mapper.connect('/servers/{id}', { action: 'show' })
 * const app = new RoutesMiddleware(wsgify((req) => req.urlvars), mapper)
 * const res = await Request.blank('/servers/42').getResponse(app)
 * await res.json() //=> { id: '42', action: 'show' }
 */
export class RoutesMiddleware {
  readonly app: Application
  readonly mapper: Mapper
  readonly #options: RoutesOptions

  constructor(app: Application, mapper: Mapper, options: RoutesOptions = {}) {
    this.app = app
    this.mapper = mapper
    this.#options = options
  }

  __call__(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    return this.#options.useMethodOverride ? overriddenMethod(new Request(environ))
      .then((method) => this.#run(environ, startResponse, method))
      : this.#run(environ, startResponse)
  }

  #run(
    environ: Environ, startResponse: StartResponse, method?: string,
  ): Body | Promise<Body> {
    this.route(environ, method)
    const { redirect = null, options = {} } = environ['routes.route'] ?? {}
    if (!redirect) return callApplication(this.app, environ, startResponse)
    const vars = environ['wsgiorg.routing_args']?.[1] ?? {}
    const location = this.mapper.build(redirect, ownVars(redirect, vars), environ) ?? ''
    startResponse(options.redirectCode ?? '302 Found',
      [['Content-Type', 'text/plain; charset=utf8'], ['Location', location]])
    return []
  }

  /** Matches, as `method` if given, sets the environ keys; true if there is a route. */
  route(environ: Environ, method: string = environ.REQUEST_METHOD): boolean {
    const isOwn = method === environ.REQUEST_METHOD
    const found = this.mapper.routematch(environ.PATH_INFO,
      isOwn ? environ : { ...environ, REQUEST_METHOD: method })
    const vars: Vars = found ? found[0] : new Dict()
    inherit(vars, environ['wsgiorg.routing_args']?.[1])
    const url = new URLGenerator(this.mapper, environ)
    environ['wsgiorg.routing_args'] = [url, vars]
    environ['routes.route'] = found ? found[1] : null
    environ['routes.url'] = url
    if ('path_info' in vars && this.#options.pathInfo !== false) movePath(environ, vars)
    return found !== null
  }
}

type RoutesOptions = Partially<{ useMethodOverride: boolean; pathInfo: boolean }>

/** A router inside a router keeps the outer one's variables. */
function inherit(vars: Vars, outer: Vars | undefined): void {
  for (const key in outer) if (!OWN.test(key) && !(key in vars)) vars[key] = outer[key]
}
const OWN = /^(controller|action|path_info)$/

/** The variable path_info is what is left of the path; what came before it is a mount. */
function movePath(environ: Environ, vars: Vars): void {
  const rest = String(vars['path_info'] ?? '')
  const all = environ.PATH_INFO
  environ.PATH_INFO = rest.startsWith('/') ? rest : `/${rest}`
  environ.SCRIPT_NAME += all.endsWith(`/${rest}`) ? all.slice(0, -rest.length - 1) : all
}

/** `_method` in the query string, else in the form of a POST. */
async function overriddenMethod(req: Request): Promise<string | undefined> {
  let method: unknown = req.GET.getAll('_method').at(-1)
  if (method === undefined && req.method === 'POST' && req.contentType) {
    method = (await req.formData()).getAll('_method').at(-1)
  }
  return typeof method === 'string' && method ? method.toUpperCase() : undefined
}

/**
 * A controller's actions as an application: `show(req, {id})`, `create(req, {body})`
 * (nova.wsgi.Resource). POST .../action with {"os-stop": null} calls
 * `controller.actions['os-stop'](req, {id, body})`.
 *
 * @example
 * const servers = { show: (req: Request, { id }: { id: string }) => ({ id }) }
 * const mapper = new Mapper()
 * mapper.resource('server', 'servers', { controller: new Resource(servers) })
 * const res = await Request.blank('/servers/42').getResponse(new Router(mapper))
 * await res.json() //=> { id: '42' }
 */
export class Resource {
  readonly controller: object
  readonly #app: ApplicationFunction = wsgify((req) => this._callAction(req))

  constructor(controller: object) { this.controller = controller }

  __call__(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    return this.#app(environ, startResponse)
  }

  /** Calls the method that the route's action names. */
  async _callAction(req: Request): Promise<unknown> {
    const { action, ...args } = paramsOf(req)
    const method = methodOf(this.controller, action)
    if (!method && action !== 'action') throw new HTTPNotFound()
    if (/^(POST|PUT|PATCH)$/.test(req.method)) args['body'] = await jsonBody(req)
    return (method ?? this.#bodyAction(args['body']))(req, args)
  }

  /** The body's single key names the action; only the controller's own table counts. */
  #bodyAction(body: unknown): Method {
    const [name, next] = isObject(body) && !Array.isArray(body) ? Object.keys(body) : []
    if (!name || next !== undefined) {
      throw new HTTPBadRequest('The body must be an object with one key, the action.')
    }
    const { actions = {} } = this.controller as { actions?: Record<string, unknown> }
    const found = Object.hasOwn(actions, name) ? actions[name] : undefined
    if (typeof found !== 'function') throw new HTTPBadRequest(`No such action: ${name}`)
    return found.bind(this.controller) as Method
  }
}

type Method = (...args: unknown[]) => unknown

/** A controller's method by its public name, bound; never one that every object has. */
function methodOf(controller: object, name: unknown): Method | null {
  if (typeof name !== 'string' || /^(_|constructor$)/.test(name)) return null
  const method = (controller as Record<string, unknown>)[name]
  const isOwn = method !== (Object.prototype as Record<string, unknown>)[name]
  return isOwn && typeof method === 'function' ? method.bind(controller) as Method : null
}

/** The JSON in a body; null where it is empty; 415 where it is something else. */
async function jsonBody(req: Request): Promise<unknown> {
  if ((await req.bytes()).length === 0) return null
  const isJson = /^(application\/(.+\+)?json)?$/i.test(req.contentType)
  if (!isJson) throw new HTTPUnsupportedMediaType()
  return req.json()
}

/**
 * A class as an application: a new instance for each request, a method for each verb;
 * with `action` among the variables, `{action}_{verb}` (WebOb's rest_controller).
 *
 * @example
 * class Hello {
 *   vars: Record<string, unknown>
 *   constructor(req: Request, vars: Record<string, unknown>) { this.vars = vars }
 *   get() { return `Hello ${this.vars['name']}!` }
 * }
 * const router = new Router().addRoute('/{name}', restController(Hello))
 * await (await Request.blank('/Ada').getResponse(router)).text() //=> 'Hello Ada!'
 */
export function restController(
  Controller: new (req: Request, vars: Record<string, unknown>) => object,
): Wsgified<[], unknown> {
  return wsgify((req) => {
    const vars = paramsOf(req)
    const verb = req.method.toLowerCase()
    const name = vars['action'] ? `${String(vars['action'])}_${verb}` : verb
    const method = methodOf(new Controller(req, vars), name)
    if (!method) throw new HTTPNotFound(`No action ${name}`)
    return method()
  })
}

/** An application and where it is mounted; '' takes every path. */
export interface Mount { domain: string | null; prefix: string; app: Application }

/**
 * Mounts applications below prefixes, optionally on hosts: the longest prefix wins, at a
 * segment's end ('/v1' takes '/v1/x', not '/v1x'); '/' takes the rest (paste.urlmap).
 *
 * @example
 * const where = wsgify((req) => [req.scriptName, req.pathInfo])
 * const map = new URLMap({ '/v1': where, 'http://admin.test/': where })
 * const res = await Request.blank('/v1/servers/42').getResponse(map)
 * await res.json() //=> ['/v1', '/servers/42']
 */
export class URLMap {
  readonly notFoundApp: Application
  readonly mounts: Mount[] = []

  constructor(
    table: Record<string, Application> = {},
    options: { notFoundApp?: Application | undefined } = {},
  ) {
    this.notFoundApp = options.notFoundApp ?? wsgify(() => new HTTPNotFound())
    for (const [key, app] of Object.entries(table)) this.set(key, app)
  }

  /** '/v1', 'http://host:80/v1', [host, '/v1'], or an ini's 'domain host port 80 /v1'. */
  set(key: string | readonly [string | null, string], app: Application): this {
    const mount = { ...parseMount(key), app }
    this.delete(key)
    this.mounts.push(mount)
    // Hosts come before no host, and longer prefixes before shorter ones.
    this.mounts.sort((a, b) => Number(a.domain === null) - Number(b.domain === null)
      || (a.domain ?? '').localeCompare(b.domain ?? '')
      || b.prefix.length - a.prefix.length)
    return this
  }
  delete(key: string | readonly [string | null, string]): boolean {
    const { domain, prefix } = parseMount(key)
    const at = this.mounts.findIndex((m) => m.domain === domain && m.prefix === prefix)
    return at >= 0 && this.mounts.splice(at, 1).length === 1
  }
  keys(): [domain: string | null, prefix: string][] {
    return this.mounts.map(({ domain, prefix }) => [domain, prefix])
  }

  __call__(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    const path = environ.PATH_INFO.replace(/\/{2,}/g, '/')
    const mount = this._find(environ, path)
    if (!mount) return callApplication(this.notFoundApp, environ, startResponse)
    environ.SCRIPT_NAME = (environ.SCRIPT_NAME ?? '') + mount.prefix
    environ.PATH_INFO = path.slice(mount.prefix.length)
    return callApplication(mount.app, environ, startResponse)
  }

  /** The mount for a request. A subclass may choose by other things too. */
  _find(environ: Environ, path: string): Mount | undefined {
    const own = (environ['HTTP_HOST'] || (environ.SERVER_NAME ?? '')).toLowerCase()
    const standard = environ['wsgi.url_scheme'] === 'https' ? '443' : '80'
    const [, host = '', port = standard] = /^(.*?)(?::(\d*))?$/.exec(own) ?? []
    return this.mounts.find(({ domain, prefix }) =>
      (domain === null || domain === host || domain === `${host}:${port}`)
      && (path === prefix || path.startsWith(`${prefix}/`)))
  }
}

function parseMount(key: string | readonly [string | null, string]): Omit<Mount, 'app'> {
  const text = typeof key === 'string' ? key.trim() : key[1]
  const [, words] = /^((?:(?:domain|port)\s+\S+\s*)+)/.exec(text) ?? []
  const url = words === undefined ? text : urlOfWords(text, words)
  const [, host, path = url] = /^https?:\/\/([^/]*)(.*)$/i.exec(url) ?? []
  const domain = typeof key === 'string' ? host : key[0]
  if (path && !path.startsWith('/')) {
    throw new TypeError(`The URLMap key ${quote(key)}: write "/path" or "http://host/x"`)
  }
  const prefix = path.replace(/\/{2,}/g, '/').replace(/\/$/, '')
  return { domain: domain?.toLowerCase() ?? null, prefix }
}

/** 'domain api.test port 80 /v1' -> 'http://api.test:80/v1' */
function urlOfWords(key: string, words: string): string {
  const domains = Array.from(words.matchAll(/domain\s+(\S+)/g), ([, name]) => name)
  const ports = Array.from(words.matchAll(/port\s+(\d+)(?!\S)/g), ([, one]) => `:${one}`)
  const isWhole = words.trim().split(/\s+/).length === 2 + 2 * ports.length
  if (domains.length !== 1 || ports.length > 1 || !isWhole) {
    throw new TypeError(`The URLMap key ${quote(key)}: write "domain NAME port N /path"`)
  }
  const path = key.slice(words.length).replace(/^(?=[^/])/, '/')
  return `http://${domains.join('')}${ports.join('')}${path}`
}

// 8. Filters ────────────────────────────────────────────────────────────────────────────
// Arrives: /v1/servers/42 on its way in, later its answer on its way out. Leaves: the
// same, or changed. A filter is an application around an application; these are
// oslo.middleware's. Each is used in three ways, and takes an ini's strings in all:
//     new RequestBodySizeLimiter(app, { maxRequestBodySize: 1024 })
//     RequestBodySizeLimiter.factory({}, { max_request_body_size: '1024' })(app)
//     paste.filter_factory = mini-wsgi:RequestBodySizeLimiter.factory      in an ini file

/** Keys and values of an ini section. */
export type Conf = Record<string, string>

type Options = Readonly<Record<string, unknown>>

/**
 * The base of filters: override `processRequest`, whose result, if any, is the answer,
 * and `processResponse` (nova.wsgi.Middleware).
 *
 * @example
 * class Tag extends Middleware {
 *   override processResponse(res: Response): Response {
 *     res.headers.set('X-Tag', String(this.options['tag']))
 *     return res
 *   }
 * }
 * const app = Tag.factory({}, { tag: 'v1' })(wsgify(() => 'hello'))
 * (await Request.blank('/').getResponse(app)).headers.get('X-Tag') //=> 'v1'
 */
export class Middleware {
  readonly application: Application
  readonly options: Options
  readonly #app: ApplicationFunction = wsgify((req) => this._handle(req))

  constructor(application: Application, options: Options = {}) {
    this.application = application
    this.options = options
  }

  /** For `paste.filter_factory`: the ini's max_age becomes the option maxAge. */
  static factory(globalConf: Conf, localConf: Conf = {}): Filter {
    const options = Object.entries({ ...globalConf, ...localConf }).map(([key, value]) =>
      [key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()), value])
    return (app) => new this(app, Object.fromEntries(options) as Options)
  }

  processRequest(_: Request): unknown { return undefined }
  processResponse(res: Response, _: Request): Response | Promise<Response> { return res }

  __call__(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    return this.#app(environ, startResponse)
  }

  /** The whole of filtering; without a way out the application answers by itself. */
  _handle(req: Request): unknown {
    return whenKnown(this.processRequest(req), (early) => {
      const hasWayOut = this.processResponse !== Middleware.prototype.processResponse
      if (early || !hasWayOut) return early || this.application
      return whenKnown(responseOf(req, this.application), (res) =>
        this.processResponse(res, req))
    })
  }
}

/** An option as text, which is what an ini file has; if it is wrong, nothing starts. */
function option(of: Middleware, name: string, form: RegExp, otherwise: unknown): string {
  const text = String(of.options[name] ?? otherwise)
  if (form.test(text)) return text
  throw new TypeError(`${of.constructor.name}: the option ${name} is ${quote(text)}; `
    + `it must look like ${form}`)
}

const isOn = (of: Middleware, name: string, otherwise: boolean): boolean => /^([1ty]|on)/i
  .test(option(of, name, /^(true|1|on|yes|false|0|off|no)$/i, otherwise))

/** 'a, b' or ['a', 'b'] -> ['a', 'b'] */
const listOf = (value: unknown): string[] =>
  String(value ?? '').split(',').map((word) => word.trim()).filter(Boolean)

/**
 * Gives each request an id, in environ and in the answer's X-OpenStack-Request-ID; an id
 * that came with the request is kept as the global one.
 *
 * @example
 * const app = new RequestId(wsgify((req) => String(req.environ['openstack.request_id'])))
 * const res = await Request.blank('/').getResponse(app)
 * (await res.text()) === res.headers.get('x-openstack-request-id') //=> true
 */
export class RequestId extends Middleware {
  override processRequest({ environ }: Request): void {
    const outer = environ['HTTP_X_OPENSTACK_REQUEST_ID'] ?? ''
    if (REQUEST_ID.test(outer)) environ['openstack.global_request_id'] = outer
    environ['openstack.request_id'] = `req-${crypto.randomUUID()}`
  }

  override processResponse(res: Response, req: Request): Response | Promise<Response> {
    const name = 'x-openstack-request-id'
    const id = String(req.environ['openstack.request_id'])
    if (!res.headers.has(name)) res.headers.set(name, id)
    return res
  }
}

const REQUEST_ID = /^req-[a-f\d]{8}-[a-f\d]{4}-[a-f\d]{4}-[a-f\d]{4}-[a-f\d]{12}$/

/**
 * Refuses bodies of more than `maxRequestBodySize` bytes (114688): by Content-Length, or,
 * where there is none, while they are read.
 *
 * @example
 * const app = new RequestBodySizeLimiter(wsgify((req) => req.text()),
 *   { maxRequestBodySize: 4 })
 * const req = Request.blank('/', { method: 'POST', body: 'too long' })
 * (await req.getResponse(app)).status //=> '413 Request Entity Too Large'
 */
export class RequestBodySizeLimiter extends Middleware {
  readonly #limit = Number(option(this, 'maxRequestBodySize', /^\d+$/, 114688))

  override processRequest({ environ, contentLength: length }: Request): unknown {
    const limit = this.#limit
    if (length === null) environ['wsgi.input'] = limited(environ['wsgi.input'], limit)
    return Number(length) > limit && tooLarge(`max_request_body_size (${limit})`)
  }
}

const tooLarge = (limit: string): HTTPException => new HTTPRequestEntityTooLarge({
  explanation: `Request is too large. Larger than ${limit}.` })

/** An input that fails once more than `limit` bytes have come. */
function limited(input: Input, limit: number): Input {
  let left = limit
  const counted = (chunk: Uint8Array): Uint8Array => {
    left -= chunk.length
    if (left < 0) throw tooLarge(String(limit))
    return chunk
  }
  return {
    // One byte more than there may be is enough to know: a longer body is never gathered.
    read: async (size = -1) =>
      counted(await input.read(size < 0 ? left + 1 : Math.min(size, left + 1))),
    async *[Symbol.asyncIterator]() {
      for await (const chunk of input) yield counted(chunk)
    },
  }
}

/**
 * Takes scheme, host and address from a proxy's Forwarded or X-Forwarded-* headers. Any
 * client can send these: off unless `enableProxyHeadersParsing`.
 *
 * @example
 * const app = new HTTPProxyToWSGI(wsgify((req) => req.url),
 *   { enableProxyHeadersParsing: true })
 * const headers = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'api.test' }
 * const res = await Request.blank('/x', { headers }).getResponse(app)
 * await res.text() //=> 'https://api.test/x'
 */
export class HTTPProxyToWSGI extends Middleware {
  readonly #isOn = isOn(this, 'enableProxyHeadersParsing', false)

  override processRequest({ environ }: Request): void {
    if (!this.#isOn) return
    const { HTTP_X_FORWARDED_PREFIX: prefix = '' } = environ
    const proto = nearest(environ, 'PROTO')
    const host = nearest(environ, 'HOST')
    const ip = nearest(environ, 'FOR').replace(/^\[(.*)\](:\d+)?$|^([\d.]+):\d+$/, '$1$3')
    if (/^https?$/.test(proto)) environ['wsgi.url_scheme'] = proto
    if (HOST.test(host)) environ['HTTP_HOST'] = host
    if (isAddress(ip)) environ.REMOTE_ADDR = ip
    const isPath = /^\/[^/\\]/.test(prefix)
    if (isPath) environ.SCRIPT_NAME = prefix.replace(/\/+$/, '') + environ.SCRIPT_NAME
  }
}

/** What our own proxy wrote, last of all; it was only told what comes before it. */
function nearest(environ: Environ, name: 'PROTO' | 'HOST' | 'FOR'): string {
  const { HTTP_FORWARDED: forwarded } = environ // RFC 7239: for=10.0.0.1;proto="https"
  const list = forwarded || environ[`HTTP_X_FORWARDED_${name}`] || ''
  const hop = list.slice(list.lastIndexOf(',') + 1).trim()
  const field = new RegExp(`(?:^|;)\\s*${name}\\s*=\\s*"?([^";]*)`, 'i')
  return forwarded ? field.exec(hop)?.[1]?.trim() ?? '' : hop
}

/** A host and port (RFC 3986 section 3.2.2), without anything that could end it. */
const HOST = /^(\[[\da-f:.]+\]|[\w.~!$&'()*+,;=%-]+)(:\d{1,5})?$/i

/** Four numbers up to 255, or what the platform takes for IPv6. */
const isAddress = (text: string): boolean =>
  /^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(?!$)|$)){4}$/.test(text)
  || (/^[\da-f:.]+$/i.test(text) && URL.canParse(`http://[${text}]`))

/**
 * Lets the pages of `allowedOrigin`, one or a list, call the application from a browser.
 * '*' is any page, and then none has credentials (oslo gives them); none is allowed by
 * default. A preflight asks with OPTIONS before the page sends the request itself.
 *
 * @example
 * const app = new CORS(wsgify(() => 'hello'), { allowedOrigin: 'https://ui.test' })
 * const req = Request.blank('/', { headers: { Origin: 'https://ui.test' } })
 * const res = await req.getResponse(app)
 * res.headers.get('Access-Control-Allow-Origin') //=> 'https://ui.test'
 */
export class CORS extends Middleware {
  readonly #origins = listOf(option(this, 'allowedOrigin', /^(\*|null|.+:\/\/.*|)$/, ''))
  readonly #credentials = isOn(this, 'allowCredentials', true) ? 'true' : ''
  readonly #maxAge = option(this, 'maxAge', /^\d+$/, 3600)

  override async processResponse(res: Response, req: Request): Promise<Response> {
    if (res.headers.has('Access-Control-Allow-Origin')) return res
    const isPreflight = req.method === 'OPTIONS'
    const answer = isPreflight && !/^2/.test(res.status) ? await emptied(res) : res
    const asked = req.headers.get('Origin')
    const origin = asked && [asked, '*'].find((one) => this.#origins.includes(one))
    const more = isPreflight ? preflight(req, this.options, this.#maxAge) : {
      'Access-Control-Expose-Headers': listOf(this.options['exposeHeaders']).join(','),
      'Vary': [...res.headers.getAll('Vary'), 'Origin'].join(','),
    }
    if (!origin || !more) return answer
    const headers = { 'Access-Control-Allow-Origin': origin, ...more,
      'Access-Control-Allow-Credentials': origin === '*' ? '' : this.#credentials }
    for (const [name, value] of Object.entries(headers)) {
      if (value) answer.headers.set(name, value)
    }
    return answer
  }
}

/** A preflight is answered for the application, which need not know the method. */
async function emptied(res: Response): Promise<Response> {
  await new BodyReader(res.body).end()
  return new Response({ status: 200, headerlist: [] })
}

/** What a page is told that asks first; null: it may not send this. */
function preflight({ headers }: Request, options: Options, maxAge: string) {
  const { allowMethods = ALL_METHODS, allowHeaders } = options
  const method = headers.get('Access-Control-Request-Method') ?? ''
  const names = listOf(headers.get('Access-Control-Request-Headers'))
  const known = listOf([SIMPLE_HEADERS, allowHeaders]).map((name) => name.toLowerCase())
  const isKnown = names.every((name) => known.includes(name.toLowerCase()))
  return isKnown && listOf(allowMethods).includes(method) ? {
    'Vary': 'Origin',
    'Access-Control-Max-Age': maxAge.replace(/^0+$/, ''),
    'Access-Control-Allow-Methods': method,
    'Access-Control-Allow-Headers': names.join(','),
  } : null
}

const ALL_METHODS = 'OPTIONS,GET,HEAD,POST,PUT,DELETE,TRACE,PATCH'
const SIMPLE_HEADERS = 'Accept,Accept-Language,Content-Type,Cache-Control,'
  + 'Content-Language,Expires,Last-Modified,Pragma'

/**
 * Answers 500 for an error that comes before the body; its text goes to `wsgi.errors`.
 *
 * @example
 * const app = new CatchErrors(() => { throw new Error('secret') })
 * const req = Request.blank('/', { environ: { 'wsgi.errors': { write: () => {} } } })
 * (await req.getResponse(app)).status //=> '500 Internal Server Error'
 */
export class CatchErrors extends Middleware {
  override async _handle(req: Request): Promise<unknown> {
    try {
      return await req.getResponse(this.application)
    } catch (error) {
      return answerTo(error, req.environ)
    }
  }
}

/** What answers for an error: itself, or a 500 whose reason only the log tells. */
function answerTo(error: unknown, environ: Environ): Application {
  if (isHttpError(error)) return error
  logError(error, environ)
  return new HTTPInternalServerError()
}

function logError(error: unknown, environ: Environ): void {
  const { REQUEST_METHOD: method, PATH_INFO: path, 'wsgi.errors': errors } = environ
  errors.write(`${method} ${quote(path)}: ${errorText(error)}\n`)
}

const errorText = (error: unknown): string =>
  error instanceof Error ? error.stack ?? String(error) : quote(error)

/**
 * Writes one line a request to `wsgi.errors`, when the answer's body is closed. It stands
 * around CatchErrors: an error that nobody answers is the server's to log.
 *
 * @example
 * const lines: string[] = []
 * const environ = { 'wsgi.errors': { write: (line: string) => lines.push(line) } }
 * const req = Request.blank('/v1', { environ })
 * await (await req.getResponse(new AccessLog(wsgify(() => 'hello')))).text()
 * lines[0]?.replace(/[0-9.]+ ms/, '1 ms') //=> '- "GET /v1 HTTP/1.0" 200 5 1 ms\n'
 */
export class AccessLog extends Middleware {
  override async __call__(environ: Environ, startResponse: StartResponse): Promise<Body> {
    const started = performance.now()
    const { method, pathQs } = new Request(environ)
    let code = '-'
    let bytes = 0
    const body = await callApplication(this.application, environ, (status, ...rest) => {
      code = status.slice(0, 3)
      return startResponse(status, ...rest)
    })
    return watchedBody(body, (step) => {
      if (!step.done) bytes += toBytes(step.value).length
    }, () => {
      const took = (performance.now() - started).toFixed(1)
      environ['wsgi.errors'].write(`${environ.REMOTE_ADDR ?? '-'} "${method} ${pathQs} ${
        environ.SERVER_PROTOCOL}" ${code} ${bytes} ${took} ms\n`)
    })
  }
}

/**
 * The same body, sync if it was: `see` is shown each step, the end too, and `closing` is
 * called when the body is closed, which its consumer owes it (chapter 1).
 */
function watchedBody(
  body: Body, see: (step: IteratorResult<Chunk>) => void, closing: () => void,
): Body {
  const reader = new BodyReader(body)
  const watched = {
    [reader.isSync ? Symbol.iterator : Symbol.asyncIterator]: () => watched,
    next: () => whenKnown(reader.next(), (step) => {
      see(step)
      return step
    }),
    close(): unknown {
      closing()
      return reader.end()
    },
  }
  return watched as unknown as Body
}

// 9. Config ─────────────────────────────────────────────────────────────────────────────
// Arrives: an ini file that names applications, filters and how they nest. Leaves: the
// application. This is PasteDeploy's language; a section comes to the call of a factory:
//
//   [composite:main]                     urlmapFactory(loader, globalConf,
//   use = egg:Paste#urlmap                 { '/': 'versions', '/v1': 'api' })
//   /: versions
//   /v1: api
//   [pipeline:api]                       for '/v1': requestId(servers), where
//   pipeline = requestId servers           requestId = RequestId.factory(globalConf, {})
//   [filter:requestId]                     servers = myApi.factory(globalConf, {n: '2'})
//   paste.filter_factory = mini-wsgi:RequestId.factory
//   [app:servers]
//   paste.app_factory = myApi:factory
//   n = 2
//
// `module:name` is asked of `registry`, then of module.js, .mjs or .ts beside the file.
// `use = x` takes over the section x, `filter-with = f` puts f around what is made.
// Here globalConf is [DEFAULT] and the file's place (here, __file__), and localConf the
// section's other keys: one of [DEFAULT] is not among them, `set key = ...` changes it.

/** What composite factories get: a way to the other sections. */
export interface ConfigLoader {
  getApp(name?: string, options?: ConfOption): Promise<Application>
  getFilter(name?: string, options?: ConfOption): Promise<Filter>
}
type ConfOption = { globalConf?: Conf | undefined }

/** The composition as an object: headings, their keys; a factory may be a function. */
export type ConfigObject = Record<string, Keys>
type Keys = Record<string, unknown>

/** What `loadApp` takes beside the place of the configuration. */
export interface LoadOptions extends ConfOption {
  /** The section; 'main' without it. */
  name?: string | undefined
  /** The folder that a relative path starts from. */
  relativeTo?: string | undefined
  /** 'module:name' to a function, or 'module' to an object that holds it (and, of
   * `Tag.factory`, the class that is its `this`); asked before import(). */
  registry?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Thrown where a file is not found (nova.exception.ConfigNotFound).
 *
 * @example
 * await loadApp('config:no.ini', { relativeTo: '/' }) //=> throws /config at "\/no.ini"/
 */
export class ConfigNotFound extends Error {
  override get name(): string { return 'ConfigNotFound' }
}

/**
 * Thrown where a file has no such application (nova.exception.PasteAppNotFound).
 *
 * @example
 * new PasteAppNotFound('no "main"').name //=> 'PasteAppNotFound'
 */
export class PasteAppNotFound extends Error {
  override get name(): string { return 'PasteAppNotFound' }
}

/**
 * Loads an application: from 'config:file.ini#name', from ini text, or from an object
 * (paste.deploy.loadapp).
 *
 * @example
 * const ini = '[app:main]\npaste.app_factory = demo:factory\ngreeting = hello'
 * const factory = (_: Conf, localConf: Conf) => wsgify(() => localConf['greeting'])
 * const app = await loadApp(ini, { registry: { 'demo:factory': factory } })
 * await (await Request.blank('/').getResponse(app)).text() //=> 'hello'
 */
export function loadApp(source: Source, options: LoadOptions = {}): Promise<Application> {
  return load('app', source, options) as Promise<Application>
}

/**
 * Loads a filter the same way (paste.deploy.loadfilter).
 *
 * @example
 * const use = 'call:mini-wsgi:RequestId.factory'
 * const filter = await loadFilter({ 'filter:main': { use } })
 * const res = await Request.blank('/').getResponse(filter(wsgify(() => 'hello')))
 * res.headers.has('x-openstack-request-id') //=> true
 */
export function loadFilter(source: Source, options: LoadOptions = {}): Promise<Filter> {
  return load('filter', source, options) as Promise<Filter>
}

type Source = string | ConfigObject
type Kind = 'app' | 'filter'
type Opened = [file: ConfigFile, name: string | undefined]

async function load(kind: Kind, source: Source, options: LoadOptions): Promise<unknown> {
  const [file, name] = openConfig(source, options)
  return new Sections(file).load(kind, name, options.globalConf)
}

/**
 * Loads applications from one ini file (nova.wsgi.Loader).
 *
 * @example
 * new Loader('no.ini') //=> throws /Could not find config at .*no.ini/
 */
export class Loader {
  readonly configPath: string
  readonly #options: LoadOptions

  constructor(configPath: string, options: LoadOptions = {}) {
    this.#options = { relativeTo: '.', ...options }
    this.configPath = openConfig(`config:${configPath}`, this.#options)[0].path
  }

  loadApp(name: string): Promise<Application> {
    return loadApp(`config:${this.configPath}`, { ...this.#options, name })
  }
}

type Composite<App = Application> =
  (loader: ConfigLoader, globalConf: Conf, localConf: Conf) => Promise<App>

/**
 * A composite of prefixes: `use = egg:Paste#urlmap`, then `/prefix: app` (paste.urlmap).
 *
 * @example
 * const hello = () => wsgify((req) => `hello from ${req.scriptName}`)
 * const app = await loadApp({
 *   'composite:main': { use: 'egg:Paste#urlmap', '/v1': 'hello' },
 *   'app:hello': { 'paste.app_factory': hello },
 * })
 * await (await Request.blank('/v1').getResponse(app)).text() //=> 'hello from /v1'
 */
export const urlmapFactory: Composite<URLMap> = async (loader, globalConf, localConf) => {
  const { not_found_app: notFound = globalConf['not_found_app'], ...mounts } = localConf
  const notFoundApp = notFound ? await loader.getApp(notFound, { globalConf }) : undefined
  const map = new URLMap({}, { notFoundApp })
  for (const [key, name] of Object.entries(mounts)) {
    map.set(key, await loader.getApp(name, { globalConf }))
  }
  return map
}

/**
 * A composite of pipelines by the value of `auth_strategy` (nova's pipeline_factory).
 *
 * @example
 * const hello = () => wsgify(() => 'hello')
 * const app = await loadApp({
 *   DEFAULT: { auth_strategy: 'noauth2' },
 *   'composite:main': { use: 'call:mini-wsgi:pipelineFactory', noauth2: 'hello' },
 *   'app:hello': { 'paste.app_factory': hello },
 * })
 * await (await Request.blank('/').getResponse(app)).text() //=> 'hello'
 */
export const pipelineFactory: Composite = async (loader, globalConf, localConf) => {
  const { auth_strategy: own, ...pipelines } = localConf
  const strategy = own ?? globalConf['auth_strategy'] ?? 'keystone'
  const pipeline = pipelines[strategy] ?? fail(`auth_strategy = ${strategy}: there is no `
    + `key ${quote(strategy)}; add it${didYouMean(strategy, Object.keys(pipelines))}`)
  return pipe(loader, globalConf, pipeline)
}

/** The last name is the app, made first; the first of the filters is outermost. */
async function pipe(loader: ConfigLoader, globalConf: Conf, pipeline = '') {
  const names = wordsOf(pipeline)
  const last = names.pop() ?? fail('a pipeline ends with the name of an app; add it')
  let app = await loader.getApp(last, { globalConf })
  const filters: Filter[] = []
  for (const name of names) filters.push(await loader.getFilter(name, { globalConf }))
  for (const filter of filters.reverse()) app = await filter(app)
  return app
}

const wordsOf = (text: unknown): string[] =>
  typeof text === 'string' ? text.split(/\s+/).filter(Boolean) : []

/** Throws; `about` is the value that is wrong, for `located` to find its key. */
function fail(rule: string, about: unknown = ''): never {
  throw Object.assign(new TypeError(rule), { about })
}

/** What has been read; the references in its values are still as written. */
interface ConfigFile {
  path: string
  /** Its folder, where other files and modules are looked for. */
  here?: string | undefined
  sections: ConfigObject
  options: LoadOptions
  /** The sections on the way to the one that is being made. */
  trail: readonly string[]
}

function openConfig(source: Source, options: LoadOptions): Opened {
  const { name, relativeTo: here } = options
  if (typeof source === 'object' || /^\s*[[#;]|\n/.test(source)) {
    const path = `(${typeof source})`
    const sections = typeof source === 'object' ? source : parseIni(source, path)
    return [{ path, here, sections, options, trail: [] }, name]
  }
  const [, uri = '', fragment] = /^config:([^#]*)(?:#(.*))?$/is.exec(source)
    ?? fail(`${quote(source)} must be "config:file.ini#name", ini text, or an object`)
  const { dirname, isAbsolute, resolve } = builtin<NodePath>('node:path')
  const { existsSync, readFileSync } = builtin<NodeFiles>('node:fs')
  const found = decodePath(uri) ?? uri
  const path = here === undefined ? found : resolve(here, found)
  if (!isAbsolute(path) || !existsSync(path)) {
    const rule = `Could not find config at ${quote(path)}; check relativeTo`
    throw Object.assign(new ConfigNotFound(rule), { about: source })
  }
  const sections = parseIni(readFileSync(path, 'utf8'), path)
  return [{ path, here: dirname(path), sections, options, trail: [] }, name ?? fragment]
}

declare const process: { // by shape: not every project that copies this has Node's types
  getBuiltinModule?(id: string): unknown
  env?: Record<string, string | undefined>
} | undefined

/** A module of Node (Deno and Bun have them too), reached without importing it. */
function builtin<T>(id: string): T {
  const found = typeof process === 'object' ? process.getBuiltinModule?.(id) : undefined
  return (found ?? fail(`This runtime has no ${id}; give ini text or an object`)) as T
}
type NodePath = Record<'dirname' | 'resolve', (...paths: string[]) => string>
  & { isAbsolute(path: string): boolean }
type NodeFiles = { existsSync(path: string): boolean
  readFileSync(path: string, encoding: 'utf8'): string }

/** A heading, or a key and its value. A URL as key, which URLMap takes, keeps its ':'. */
const LINE = /^(?:\[(.+)\].*|(https?:\/\/[^=\s]*|[^=:]*?)\s*[=:]\s*(.*))$/s

/** Python's configparser: the first '=' or ':' counts; an indented line continues. */
function parseIni(text: string, path: string): ConfigObject {
  const sections: Record<string, Record<string, string>> = new Dict()
  let [heading, key, indent] = ['', '', 0]
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const content = line.trim()
    const depth = line.search(/\S|$/)
    const keys = sections[heading]
    const [, opened, name = '', value = ''] = LINE.exec(content) ?? []
    const wrong = (rule: string): never =>
      fail(`${path}, line ${at + 1}, section [${heading}], ${content}: ${rule}`)
    if (/^[#;]/.test(content)) continue
    if (keys && key && (content === '' || depth > indent)) keys[key] += `\n${content}`
    else if (opened !== undefined) {
      if (opened in sections && opened !== 'DEFAULT') wrong('it stands twice; merge both')
      sections[opened] ??= new Dict()
      heading = opened
      key = ''
    } else if (content !== '') {
      if (!name || !keys) return wrong('write "key = value" below a [section]')
      if (name in keys) wrong(`the key ${quote(name)} stands twice; keep one`)
      keys[name] = value
      key = name
      indent = depth
    }
  }
  return sections
}

/** '[app: main]' is of the kind 'app'; a bare '[app]' has no name, not even 'main'. */
const HEADING: Readonly<Record<Kind, RegExp>> = {
  app: /^(app|application|composite?|pipeline|filter-app):\s*(.*?)\s*$/,
  filter: /^(filter):\s*(.*?)\s*$/,
}
const FACTORY_KEY: Readonly<Record<Kind, RegExp>> =
  { app: /^paste\.(app|composite?)_factory$/, filter: /^paste\.filter(_app)?_factory$/ }

/** A section's heading and prefix, by its name; the failure says what may be meant. */
function findSection({ sections, path }: ConfigFile, kind: Kind, name: string): string[] {
  const headings = Object.keys(sections)
  const all = headings.map((heading) => HEADING[kind].exec(heading) ?? [])
  const [found, second] = all.filter(([, , own]) => own === name)
  if (second) fail(`[${found?.[0]}] and [${second[0]}] share a name; rename one`, name)
  if (found) return found
  const other = headings.find((heading) => heading.endsWith(`:${name}`))
  const hint = other ? `; [${other}] is no ${kind}`
    : didYouMean(name, all.flatMap(([, , own]) => own ?? []))
  const repair = name.includes(':') ? `write "call:${name}"` : `add [${kind}:${name}]`
  const where = `Could not load paste ${kind} ${quote(name)} from ${path}`
  throw Object.assign(new PasteAppNotFound(`${where}; ${repair}${hint}`), { about: name })
}

/** A section's values; `additions`, from `set`, win over those of a used section. */
interface Values { globalConf: Conf; localConf: Conf; additions?: Conf }

function valuesOf(file: ConfigFile, heading: string, callerConf: Conf): Values {
  const { DEFAULT: defaults = {}, [heading]: own = {} } = file.sections
  const given = { ...file.options.globalConf, here: file.here ?? '', __file__: file.path }
  const outer = { ...given, ...defaults }
  const globalConf: Conf = { ...given }
  for (const key of Object.keys(defaults)) globalConf[key] = valueOf(key, outer)
  const additions: Conf = {}
  const gets: Conf = {}
  const localConf: Conf = {}
  for (const key of Object.keys({ ...defaults, ...own })) {
    const [, verb, name = key] = /^(set|get)\s+(.*)$/.exec(key) ?? []
    if (!verb && Object.hasOwn(outer, key)) continue
    const value = valueOf(key, { ...outer, ...own })
    if (verb === 'set') additions[name] = value
    else if (verb === 'get') gets[name] = value
    else localConf[name] = value
  }
  Object.assign(globalConf, callerConf, additions)
  for (const [name, key] of Object.entries(gets)) {
    localConf[name] = globalConf[key] ?? fail(`get ${name} = ${key}: [DEFAULT] has no `
      + `such key; add it${didYouMean(key, Object.keys(globalConf))}`)
  }
  return { globalConf, localConf, additions }
}

/** %(name)s is another key, %% a percent sign, ${ENV:-otherwise} the environment's. */
function valueOf(key: string, scope: Keys, depth = 0): string {
  const { [key]: value } = scope
  if (typeof value !== 'string') return value as string // an object may hold functions
  const raw = value.trimEnd()
  const wrong = (rule: string): never => fail(`${key} = ${raw}: ${rule}`)
  if (depth > 10) wrong('the values refer to each other in a circle; break it')
  const known = Object.keys(scope)
  return raw.replace(REFERENCE, (all, name = '', env?: string, or?: string) => {
    if (all === '%%') return '%'
    if (all === '%') return wrong('"%" must be "%(name)s", or "%%" for a percent sign')
    const set = env && typeof process === 'object' ? process.env?.[env] : undefined
    if (env) return set || (or ?? set ?? wrong(`set ${env}, or write \${${env}:-value}`))
    if (known.includes(name)) return valueOf(name, scope, depth + 1)
    return wrong(`there is no key ${quote(name)}; add it${didYouMean(name, known)}`)
  })
}
const REFERENCE = /%\(([^)]+)\)s|%%?|\$\{(\w+)(?::-(.*?))?\}/g

/** What a section says over the one that it uses. */
type Over = { localConf: Conf; additions: Conf; loader: ConfigLoader }

/** Makes what names stand for. */
class Sections implements ConfigLoader {
  readonly #file: ConfigFile
  constructor(file: ConfigFile) { this.#file = file }

  getApp(name?: string, options: ConfOption = {}): Promise<Application> {
    return this.load('app', name, options.globalConf) as Promise<Application>
  }
  getFilter(name?: string, options: ConfOption = {}): Promise<Filter> {
    return this.load('filter', name, options.globalConf) as Promise<Filter>
  }

  /** A name is a section's, or `config:` with a file's, or `call:` or `egg:`. */
  async load(kind: Kind, name = 'main', conf: Conf = {}, over?: Over): Promise<unknown> {
    const { path, here, sections, options: { registry }, trail } = this.#file
    if (FACTORY.test(name)) {
      return this.#call(kind, kind, { globalConf: conf, localConf: { use: name } })
    }
    if (name.startsWith('config:')) {
      const [file, section] =
        openConfig(name, { registry, relativeTo: here, globalConf: conf })
      return new Sections({ ...file, trail }).load(kind, section, conf, over)
    }
    const [heading = '', prefix = ''] = findSection(this.#file, kind, name)
    const place = `${path}, section [${heading}]`
    const way = [...trail, place]
    if (trail.includes(place)) fail(`circle: ${way.join(' > ')}; cut it`, name)
    const inside = new Sections({ ...this.#file, trail: way })
    return located(place, sections[heading] ?? {}, async () => labelled(prefix, name,
      await inside.#make(kind, prefix, valuesOf(this.#file, heading, conf), over)))
  }

  async #make(kind: Kind, prefix: string, values: Values, over?: Over): Promise<unknown> {
    const { 'filter-with': outer, ...localConf } = values.localConf
    if (outer !== undefined) {
      const filter = await this.getFilter(outer, values)
      const made = await this.#make(kind, prefix, { ...values, localConf }, over)
      return kind === 'app' ? filter(made as Application)
        : (app: Application) => whenKnown((made as Filter)(app), filter)
    }
    if (prefix === 'pipeline') {
      const { pipeline, ...others } = localConf
      const [key] = Object.keys(others)
      if (!key) return pipe(this, values.globalConf, pipeline)
      fail(`${key} = ${others[key]}: a pipeline has no such key; write "set ${key}"`)
    }
    if (prefix !== 'filter-app') return this.#call(kind, prefix, values, over)
    const { next = fail('the key "next" must name an app; add it'), ...own } = localConf
    const app = await this.getApp(next, values)
    const filter = await this.#call('filter', prefix, { ...values, localConf: own }, over)
    return (filter as Filter)(app)
  }

  /**
   * Calls the factory that a key names, or follows `use` to the section that names one:
   * with `use = big` and `n = 1` big's factory gets n = 1, and the rest from big.
   */
  async #call(kind: Kind, prefix: string, values: Values, over?: Over): Promise<unknown> {
    const { use, ...own } = values.localConf
    const additions = { ...values.additions, ...over?.additions }
    const localConf = { ...own, ...over?.localConf }
    const loader = over?.loader ?? this
    if (typeof use === 'string' && !FACTORY.test(use)) {
      return this.load(kind, use, values.globalConf, { localConf, additions, loader })
    }
    const [key, second] = use ? [`paste.${prefix}_factory`]
      : Object.keys(own).filter((one) => FACTORY_KEY[kind].test(one))
    if (!key) return fail(`no key names a factory; add "use" or "paste.${kind}_factory"`)
    if (second) fail(`${key} and ${second} are two factories; keep one`)
    const { [key]: spec = use, ...rest } = own
    const factory = await findFactory(this.#file, spec)
    const both = [{ ...values.globalConf, ...additions }, { ...rest, ...over?.localConf }]
    if (/filter_app/.test(key)) return (app: unknown) => factory(app, ...both)
    const isComposite = /composit/.test(key) || use === 'egg:Paste#urlmap'
    const made = await factory(...isComposite ? [loader] : [], ...both)
    if (kind === 'app' ? isApplication(made) : typeof made === 'function') return made
    return fail(`it made ${quote(made)}, which is no ${kind}; return one`, spec)
  }
}

/** Under this name an object holds what `trace` and `describe` (chapter 10) say of it. */
const DESCRIBE: unique symbol = /* @__PURE__ */ Symbol.for('mini-wsgi.describe')
type Described = { [DESCRIBE]?: Partial<Layer> }

/** Leaves a section's name on what was made of it; a pipeline gets a layer of its own. */
function labelled(prefix: string, name: string, made: unknown): unknown {
  const mark = (app: unknown, more?: Partial<Layer>): unknown => {
    Reflect.set(Object(app) as object, DESCRIBE, { name, ...more }) // not if it is frozen
    return app
  }
  if (prefix === 'filter') {
    return (app: Application) => whenKnown((made as Filter)(app), (whole) => {
      if (isApplication(whole)) return whole === app ? app
        : mark(whole, { kind: 'filter', children: () => [['', app]] })
      fail(`filter ${quote(name)} made ${quote(whole)}; let it return an app`, name)
    })
  }
  if (!/^(comp|pipe)/.test(prefix)) return made
  if ('mounts' in Object(made)) return mark(made)
  return mark((environ: Environ, startResponse: StartResponse) =>
    callApplication(made as Application, environ, startResponse),
  { kind: 'composite', children: () => [['', made]] })
}

type Factory = (...args: unknown[]) => unknown
const FACTORY = /^(call|egg):/

/** What an ini file may name without a registry. */
const BUILT_IN: Readonly<Record<string, unknown>> = {
  'egg:Paste#urlmap': urlmapFactory,
  'mini-wsgi': { RequestId, RequestBodySizeLimiter, HTTPProxyToWSGI, CORS, CatchErrors,
    AccessLog, urlmapFactory, pipelineFactory },
}

/** 'module:holder.name' as a function that calls `name` as a method of its holder. */
async function findFactory({ here, options }: ConfigFile, spec: unknown) {
  if (typeof spec === 'function') return spec as Factory
  const name = String(spec).replace(/^call:/, '')
  const known = Object.assign(new Dict<unknown>(), BUILT_IN, options.registry)
  const isWhole = name in known || name.startsWith('egg:')
  const [module = '', path = ''] = isWhole ? [name] : name.split(/:(.*)/s)
  let holder: unknown
  let found = known[module] ?? await importBeside(here, module)
    ?? fail(`the registry has no ${quote(module)}, nor is there a file ${module}.js, `
      + `.mjs or .ts; write "module:name"${didYouMean(module, Object.keys(known))}`, spec)
  for (const part of path.split('.').filter(Boolean)) {
    const names = Object(found) as Record<string, unknown>
    holder = found
    found = names[part]
      ?? fail(`there is no ${quote(part)}${didYouMean(part, Object.keys(names))}`, spec)
  }
  if (typeof found === 'function') return (found as Factory).bind(holder)
  return fail(`it must be a function, not ${quote(found)}`, spec)
}

function importBeside(here: string | undefined, module: string): unknown {
  const files = ['js', 'mjs', 'ts'].map((ending) => `${here}/${module}.${ending}`)
  const found = here && files.find((one) => builtin<NodeFiles>('node:fs').existsSync(one))
  if (!found) return undefined
  const { pathToFileURL } = builtin<{ pathToFileURL(path: string): URL }>('node:url')
  return import(/* webpackIgnore: true */ /* @vite-ignore */ pathToFileURL(found).href)
}

/** A failure whose message says where. */
class ConfigError extends TypeError {}

/** Puts the section before a failure's message, and the key that has the wrong value. */
async function located(place: string, keys: Keys, work: () => unknown): Promise<unknown> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause // the innermost section has said it
    const { message = quote(cause), about = '' } = Object(cause) as Record<string, string>
    const key = Object.keys(keys).find((one) => wordsOf(keys[one]).includes(about))
    const where = key === undefined ? '' : `, ${key} = ${wordsOf(keys[key]).join(' ')}`
    throw new ConfigError(`${place}${where}: ${message}`, { cause })
  }
}

/** '; did you mean "x"?', or what there is. */
function didYouMean(name: string, known: readonly string[]): string {
  const edits = Math.min(2, Math.floor(name.length / 2))
  const near = known.find((one) => isNear(name.toLowerCase(), one.toLowerCase(), edits))
  if (near !== undefined) return `; did you mean ${quote(near)}?`
  return known.length > 0 ? ` (known: ${known.join(', ')})` : ''
}

/** Whether so many edits make one word of the other (Levenshtein). */
function isNear(a: string, b: string, edits: number): boolean {
  if (a === b || edits === 0) return a === b
  if (a[0] === b[0]) return isNear(a.slice(1), b.slice(1), edits)
  return isNear(a.slice(1), b, edits - 1) || isNear(a, b.slice(1), edits - 1)
    || isNear(a.slice(1), b.slice(1), edits - 1)
}

// 10. Seeing it work ────────────────────────────────────────────────────────────────────
// Arrives: any application. Leaves: the same, watched. `validator` stands between server
// and application, or between any two layers, and throws where one of them breaks the
// contract of chapter 1: all tests run inside it. `describe` draws the layers of an
// application as a tree, `trace` the way of each request through them, as in
//     GET /v1/servers/42?detail=1
//       composite main               /v1 -> api   SCRIPT_NAME=/v1 PATH_INFO=/servers/42
//        > request_id                openstack.request_id=req-7c1e

/**
 * Asserts PEP 3333 on both sides of an application (wsgiref.validate.validator).
 *
 * @example
 * const wrong = (() => 'hello') as unknown as Application
 * const { environ } = Request.blank('/')
 * validator(wrong)(environ, () => () => {}) //=> throws /returned a bare string: "hello"/
 */
export function validator(app: Application): ApplicationFunction
export function validator(app: DecoratedMethod): ApplicationFunction
export function validator(app: Application | DecoratedMethod): ApplicationFunction {
  return (...args: unknown[]) => {
    check(args.length === 2, 'server called with other than two arguments', 'pass two')
    const [environ, startResponse] = args as [Environ, StartResponse]
    checkEnviron(environ)
    environ['wsgi.input'] = checkedInput(environ['wsgi.input'])
    environ['wsgi.errors'] = checkedErrors(environ['wsgi.errors'])
    const state = { isStarted: false, isClosed: false }
    const body = callApplication(app as Application, environ, (...given) =>
      checkedStart(given, state, startResponse))
    return whenKnown(body, (known) => checkedBody(known, state))
  }
}

type Checked = { isStarted: boolean; isClosed: boolean }

/** A violation says which side did what, quotes that, and tells what to do instead. */
function check(ok: unknown, did: string, repair: string, ...what: unknown[]): asserts ok {
  if (ok) return
  throw new TypeError(`validator: the ${[did, ...what.map(quote)].join(': ')}; ${repair}`)
}

const isText = (value: unknown): boolean => typeof value === 'string'

/** The form of each key of environ, '' standing for one that is left out. */
const FORMS: readonly (readonly [keys: string, form: RegExp, repair: string])[] = [
  ['REQUEST_METHOD SERVER_NAME SERVER_PORT', /./, 'set it'],
  ['wsgi.multithread wsgi.multiprocess wsgi.run_once', /./, 'set it'],
  ['wsgi.version', /^\d+,\d+$/, 'use [1, 0]'],
  ['wsgi.url_scheme', /^https?$/, 'use "http" or "https"'],
  ['SCRIPT_NAME', /^(?!\/$)/, 'make it "" and PATH_INFO "/"'],
  ['SCRIPT_NAME PATH_INFO', /^(\/|$)/, 'start it with "/" or leave it empty'],
  ['CONTENT_LENGTH', /^\d*$/, 'write the number of bytes'],
  ['HTTP_CONTENT_TYPE HTTP_CONTENT_LENGTH', /^$/, 'leave out HTTP_'],
]

function checkEnviron(environ: Environ): void {
  const prototype = Object.getPrototypeOf(Object(environ)) as object | null
  const isPlain = environ && (!prototype || !Object.getPrototypeOf(prototype))
  check(isPlain, 'server gave as environ', 'give a plain object', environ)
  for (const [key, value = ''] of Object.entries(environ)) {
    const isFine = key.includes('.') || isText(value)
    check(isFine, `server set ${key}`, 'keys without a dot hold strings', value)
  }
  for (const [keys, form, repair] of FORMS) {
    for (const key of keys.split(' ')) {
      const value = environ[key] ?? ''
      check(form.test(String(value)), `server set ${key}`, repair, value)
    }
  }
  const path = environ.SCRIPT_NAME + environ.PATH_INFO
  check(path, 'server left SCRIPT_NAME and PATH_INFO empty', 'make PATH_INFO "/"')
}

function checkedInput(input: Input): Input {
  const isInput = typeof input?.read === 'function' && Symbol.asyncIterator in input
  check(isInput, 'server gave as wsgi.input', 'it needs read(size?) and iteration', input)
  if (input instanceof BufferedInput) return input // Request knows that it can rewind it
  const read = async (...sizes: unknown[]): Promise<Uint8Array> => {
    const isSize = sizes.length < 2 && /^(undefined|number)$/.test(typeof sizes[0])
    check(isSize, 'application called wsgi.input.read', 'pass a number', ...sizes)
    return input.read(...sizes as [number])
  }
  return { read, [Symbol.asyncIterator]: () => input[Symbol.asyncIterator]() }
}

function checkedErrors(errors: Environ['wsgi.errors']): Environ['wsgi.errors'] {
  check(errors?.write, 'server gave as wsgi.errors', 'it needs write(text)', errors)
  return { write(text: string) {
    check(isText(text), 'application wrote to wsgi.errors', 'write a string', text)
    return errors.write(text)
  } }
}

function checkedStart(given: unknown[], state: Checked, start: StartResponse): Write {
  const [status, headers, excInfo = null] = given as Parameters<StartResponse>
  const isAgain = state.isStarted && !excInfo
  check(!isAgain, 'application called startResponse twice', 'pass excInfo', status)
  const isStatus = isText(status) && /^[1-9]\d\d [^\x00-\x1f]*$/.test(status)
  check(isStatus, 'application gave the status', 'write it as in "200 OK"', status)
  const isList = Array.isArray(headers) && given.length < 4
  check(isList, 'application gave as headers', 'give a list of [name, value]', headers)
  check(typeof excInfo === 'object', 'application gave excInfo', 'give an error', excInfo)
  checkHeaders(headers, Number(status.slice(0, 3)))
  state.isStarted = true
  const write = start(status, headers, ...given.slice(2))
  return (chunk) => {
    checkChunk(chunk)
    return write(chunk)
  }
}

/** These are about the connection, which is the server's (RFC 9110 section 7.6.1). */
const HOP_BY_HOP = /* @__PURE__ */ new RegExp('^(connection|keep-alive|te|trailers|'
  + 'proxy-authenticate|proxy-authorization|transfer-encoding|upgrade)$', 'i')

function checkHeaders(headers: HeaderList, code: number): void {
  for (const pair of headers) {
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every(isText)
    check(isPair, 'application gave the header', 'give [name, value], both strings', pair)
    const [name, value] = pair
    const isName = /^[a-z]([\w-]*[a-z\d])?$/i.test(name)
    check(isName, 'application named a header', 'use letters, digits and "-"', name)
    const isOwn = !HOP_BY_HOP.test(name) && !/^status$/i.test(name)
    check(isOwn, 'application gave the header', 'leave that to the server', name)
    const isPlain = !/[\x00-\x1f\x7f]/.test(value)
    check(isPlain, `application set ${name}`, 'take out the control characters', value)
  }
  const fields = new Headers(headers)
  const hasType = fields.has('Content-Type')
  const isBare = code === 204 || code === 304
  check(!isBare || !hasType, `application gave ${code} a Content-Type`, 'leave it out')
  const isEmpty = isBare || code === 205 || fields.get('Content-Length') === '0'
  check(isEmpty || hasType, `application gave ${code} no Content-Type`, 'set it')
}

function checkChunk(chunk: unknown): void {
  check(isChunk(chunk), 'application sent the chunk', 'send strings or bytes', chunk)
}

function checkedBody(body: Body, state: Checked): Body {
  check(!isText(body), 'application returned a bare string', 'return [text]', body)
  const isBody = isIterable(body) && !(body instanceof Uint8Array)
  check(isBody, 'application returned', 'return an iterable of strings or bytes', body)
  return watchedBody(body, (step) => {
    check(!state.isClosed, 'server read on after close()', 'close when all is read')
    if (step.done) return
    check(state.isStarted, 'application sent a chunk', 'call startResponse before')
    checkChunk(step.value)
  }, () => {
    check(!state.isClosed, 'server closed a body twice', 'call close() once')
    state.isClosed = true
  })
}

/**
 * What `trace` and `describe` know of a layer. They know this file's classes by their
 * shape, and whatever keeps its application in `app` or `application`. Others, and the
 * loader (chapter 9), leave it, or part of it, under `Symbol.for('mini-wsgi.describe')`.
 */
export interface Layer {
  kind: keyof typeof LOOKS
  name: string
  children?: (() => [label: string, app: unknown][]) | undefined
}

/** How far a layer is set in from the one around it, and what stands before its name. */
const LOOKS = { request: [0, ''], composite: [0, 'composite '], filter: [1, '> '],
  app: [2, 'app '], controller: [2, ''] } as const
const HANDLER: Layer = { kind: 'controller', name: 'handler' }

type Known = Described & Partial<Pick<Wsgified, 'undecorated'> & Pick<URLMap, 'mounts'>
  & Pick<Router, 'map'> & Record<'application' | 'app', unknown>>

/** An answer, or a function without a name, is no layer. */
function layerOf(value: unknown): Layer | undefined {
  const object = Object(value) as Known
  const { undecorated, mounts, map, app, application = app, [DESCRIBE]: said } = object
  const made = undecorated ?? (typeof value === 'function' ? value : object.constructor)
  const layer = (kind: Layer['kind'], children?: Layer['children']): Layer =>
    ({ kind, name: made?.name || '-', children, ...said })
  if ('statusCode' in object) return undefined
  if (mounts?.map) return layer('composite', () => mounts.map((mount) =>
    [`${mount.domain ?? ''}${mount.prefix || '/'}`, mount.app]))
  if (map?.matchlist) return layer('app', () => map.matchlist.map((route) => {
    const { controller, action } = route.defaults
    const to = action === undefined ? '' : ` -> ${String(action)}`
    return [`${route.methods?.join() ?? '*'} ${route.routepath}${to}`, controller]
  }))
  if (isApplication(application)) return layer('filter', () => [['', application]])
  return made?.name || said ? layer('controller') : undefined
}

/** A layer and those below it; in a trace also what it did with the request. */
export interface Tree {
  kind: Layer['kind']
  name: string
  label: string
  below: Tree[]
  /** What it set in environ before it called the next layer, or answered. */
  changed?: Partial<Environ>
  status?: string
  /** How long it took to answer, the layers below included. */
  ms?: number
}

/**
 * The layers of an application, composites, filters and routes: a tree, and with String()
 * its text.
 *
 * @example
 * const router = new Router().get('/servers/{id}', (_, { id }) => id)
 * const tree = describe(new URLMap({ '/v1': new RequestId(router) }))
 * String(tree).split('\n').length //=> 4
 * tree.below[0]?.name //=> 'RequestId'
 */
export function describe(app: Application): Tree {
  const tree = treeOf(['', app])
  return Object.assign(tree, { toString: () => textOf(tree, 0, 2) })
}

function treeOf([label, app]: [label: string, app: unknown]): Tree {
  const { kind, name, children } = layerOf(app) ?? HANDLER
  return { kind, name, label, below: children?.().map(treeOf) ?? [] }
}

/** `least` is how far in is what would stand just below the layer around it. */
function textOf(tree: Tree, indent: number, least: number): string {
  const name = ' '.repeat(indent) + LOOKS[tree.kind][1] + tree.name
  const line = `${name.padEnd(28)}   ${tree.label}`.trimEnd()
  const plain = line.replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ') // a terminal would obey these
  return [plain, ...tree.below.map((one) =>
    textOf(one, indent + (LOOKS[one.kind][0] || least), least))].join('\n')
}

/**
 * Shows the way of each request through the layers of an application: what they changed,
 * what they answered, how long it took. `report` gets it as a tree, whose String() is
 * text; without it `wsgi.errors` gets the text.
 *
 * @example
 * const app = new URLMap({ '/v1': wsgify(function hello(req) { return req.pathInfo }) })
 * const labels: unknown[] = []
 * const traced = trace(app, ({ below }) => labels.push(below[0]?.label))
 * await (await Request.blank('/v1/servers').getResponse(traced)).text() //=> '/servers'
 * labels //=> ['/v1 -> hello   SCRIPT_NAME=/v1 PATH_INFO=/servers']
 */
export function trace(
  app: Application, report: (way: Tree, environ: Environ) => unknown =
    (way, environ) => environ['wsgi.errors'].write(`${way}\n`),
): ApplicationFunction {
  return async (environ, startResponse) => {
    const way: Tree = { kind: 'request', name: '', label: '', below: [] }
    const start = watch(way, way, environ, startResponse)
    let answer = ''
    const end = (): void => report(finished(way, environ, answer), environ) as void
    try {
      const body = await callApplication(app, environ, start)
      return watchedBody(body, (step) => {
        if (!step.done) answer ||= toText(toBytes(step.value)).slice(0, 60)
      }, end)
    } catch (error) {
      answer = `raised ${String(error)}`
      end()
      throw error
    }
  }
}

/** Puts the answer below the layer that gave it, and over all of it what was asked. */
function finished(way: Tree, environ: Environ, answer: string): Tree {
  const { method, pathQs } = new Request(environ)
  const id = String(environ['openstack.request_id'] ?? '').slice(0, 8)
  const { status = '', ms = 0 } = way
  let [last, action]: [Tree, unknown] = [way, '']
  for (let next = last.below.at(-1); next; next = last.below.at(-1)) {
    action = next.changed?.['wsgiorg.routing_args']?.[1]['action'] ?? action
    last = next
  }
  const label = `-> ${status} ${answer}`
  last.below.push({ kind: 'controller', name: String(action), label, below: [] })
  return Object.assign(way, { name: `${id} ${method} ${pathQs}`.trim(), toString: () =>
    `${textOf(way, 2, 0).trim()}\n   < ${status}  ${ms.toFixed(1)} ms` })
}

/** Looks on, as callApplication lets it (chapter 1), while a layer has the request. */
function watch(
  step: Tree, layer: Layer, environ: Environ, startResponse: StartResponse,
): StartResponse {
  const before = { ...environ }
  const started = performance.now()
  const leave = (now: Environ, next?: unknown): void => {
    step.changed ??= changesOf(before, now)
    step.label ||= labelOf(layer, before, step.changed, next)
  }
  environ['mini.trace'] = (app, now, start) => {
    const inner = layerOf(app)
    if (!inner) return start
    leave(now, app)
    const below: Tree = { kind: inner.kind, name: inner.name, label: '', below: [] }
    step.below.push(below)
    return watch(below, inner, now, start)
  }
  return (status, ...rest) => {
    leave(environ)
    environ['mini.trace'] = before['mini.trace']
    step.status = status.slice(0, 3)
    step.ms = performance.now() - started
    return startResponse(status, ...rest)
  }
}

function changesOf(before: Environ, now: Environ): Partial<Environ> {
  const keys = Object.keys({ ...before, ...now }).filter((key) =>
    now[key] !== before[key] && !/^(mini|routes)\./.test(key))
  return Object.fromEntries(keys.map((key) => [key, now[key]])) as Partial<Environ>
}

/** What a layer did, on a line; a Router: 'GET /servers/42 -> controller=servers ...' */
function labelOf(
  { children }: Layer, before: Environ, changed: Partial<Environ>, next: unknown,
): string {
  const match = changed['wsgiorg.routing_args']?.[1]
  if (match) return `${before.REQUEST_METHOD} ${before.PATH_INFO} -> ${matchText(match)}`
  const texts = Object.entries(changed).map(([key, value]) =>
    typeof value === 'string' ? `${key}=${value.slice(0, 40)}` : `${key} set`)
  const [key] = children?.().find(([, app]) => app === next) ?? []
  return `${key ? `${key} -> ${layerOf(next)?.name}   ` : ''}${texts.join(' ')}`
}

function matchText({ controller, action = '-', ...vars }: Vars): string {
  if (!controller) return 'no route'
  const texts = Object.entries(vars).map(([name, value]) => `${name}: ${quote(value)}`)
  const { name } = layerOf(controller) ?? HANDLER
  return `controller=${name} action=${String(action)} {${texts.join(', ')}}`
}

// 11. Hosting ───────────────────────────────────────────────────────────────────────────
// Host adapters. Arrives: a request in the platform's form, 'GET /v1/servers/42?detail=1
// HTTP/1.1' from node:http, or a web-standard Request. Leaves: the environ of chapter 1;
// and, when the application has answered, status, headers and body in the platform's own
// form. Nothing here touches the process. What faces the network refuses what two readers
// could read in two ways, and never trusts a client to be quick, or to stay.

type FetchRequest = typeof globalThis.Request.prototype
type FetchResponse = typeof globalThis.Response.prototype
export type FetchHandler =
  (request: FetchRequest, ...rest: unknown[]) => Promise<FetchResponse>

/**
 * An application as a fetch handler: for Workers, Deno, Bun and service workers.
 *
 * @example
 * const handler = toFetch(wsgify((req) => `hello from ${req.path}`))
 * const response = await handler(new globalThis.Request('http://localhost/v1'))
 * [response.status, await response.text()] //=> [200, 'hello from /v1']
 */
export function toFetch(app: Application): FetchHandler
export function toFetch(app: DecoratedMethod): FetchHandler
export function toFetch(app: Application | DecoratedMethod): FetchHandler {
  return async (request, ...rest) => {
    const environ = fetchEnviron(request, rest)
    try {
      environ.PATH_INFO = pathOf(environ.PATH_INFO)
      return await webResponse(app as Application, environ)
    } catch (error) {
      return webResponse(answerTo(error, environ), environ)
    }
  }
}

function fetchEnviron(request: FetchRequest, rest: unknown[]): Environ {
  const { protocol, host, pathname, search } = new URL(request.url)
  const environ = makeEnviron(request.method, protocol.slice(0, -1), host)
  Object.assign(environ, {
    PATH_INFO: pathname, QUERY_STRING: search.slice(1), REQUEST_URI: pathname + search,
    SERVER_PROTOCOL: 'HTTP/1.1', HTTP_HOST: host, 'wsgi.input_terminated': true,
    'mini.signal': request.signal, 'mini.args': rest, // on Workers: bindings and context
  })
  const body = request.body?.getReader()
  const pull = async (): Promise<Uint8Array | undefined> => (await body?.read())?.value
  if (body) environ['wsgi.input'] = new StreamInput({ length: Infinity, pull })
  request.headers.forEach((value, name) => {
    if (!name.includes('_')) environ[headerKey(name)] = value
  })
  return environ
}

/** The path, decoded once for everybody behind us. */
function pathOf(raw: string): string {
  const path = decodePath(raw)
  if (path?.startsWith('/') && !path.includes('\0')) return path
  throw new HTTPBadRequest('The path must be percent-encoded UTF-8 without NUL.')
}

async function webResponse(app: Application, environ: Environ): Promise<FetchResponse> {
  const { status, headers, body } = await collect(app, environ)
  const { code } = headOf(status, headers) // throws what no server may send
  const isSent = environ.REQUEST_METHOD !== 'HEAD' && !/^(204|205|304)/.test(status)
  if (!isSent) await new BodyReader(body).end()
  return new globalThis.Response(isSent ? webBody(body) : null,
    { status: code, statusText: status.slice(4), headers })
}

const isList = (body: Body): body is Chunk[] => Array.isArray(body) && !('close' in body)

/** A list is whole already; anything else is read as slowly as the client takes it. */
function webBody(body: Body): PlainBytes | ReadableStream<Uint8Array> {
  if (isList(body)) return joinBytes(body.map(toBytes)) as PlainBytes
  const reader = new BodyReader(body)
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        let step = await reader.next()
        while (!step.done && step.value.length === 0) step = await reader.next()
        if (!step.done) return controller.enqueue(toBytes(step.value))
        await reader.end()
        controller.close()
      } catch (error) {
        await reader.end()
        throw error
      }
    },
    async cancel() { await reader.end() },
  }, { highWaterMark: 0 })
}

/** Where a body comes from, and how long it is: Infinity until pull() gives nothing. */
interface ChunkSource {
  readonly length: number
  pull(): Promise<Uint8Array | undefined>
}

/** `wsgi.input` over a stream, of which nothing is read before somebody asks. */
class StreamInput implements Input {
  readonly #source: ChunkSource
  #left: number | undefined // as soon as somebody has begun to read
  #rest: Uint8Array | undefined // what a sized read took too much

  constructor(source: ChunkSource) { this.#source = source }

  /** Somebody has begun to read, and left some. */
  get isPartial(): boolean { return (this.#left ?? 0) > 0 }

  async read(size = -1): Promise<Uint8Array> {
    const chunks: Uint8Array[] = []
    let missing = size < 0 ? Infinity : size
    while (missing > 0) {
      const chunk = await this.#next()
      if (!chunk) break
      chunks.push(chunk.length > missing ? chunk.subarray(0, missing) : chunk)
      if (chunk.length > missing) this.#rest = chunk.subarray(missing)
      missing -= chunk.length
    }
    return joinBytes(chunks)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk
  }

  async #next(): Promise<Uint8Array | undefined> {
    const rest = this.#rest
    const left = this.#left ?? this.#source.length
    this.#rest = undefined
    if (rest || left === 0) return rest
    this.#left = left
    const chunk = await this.#source.pull()
    this.#left = chunk ? left - chunk.length : 0
    return chunk
  }
}

/**
 * A fetch handler as an application.
 *
 * @example
 * const inner = fromFetch(async ({ url }) => new globalThis.Response(`hi ${url}`))
 * await (await inner.get('/web?x=1')).text() //=> 'hi http://localhost/web?x=1'
 */
export function fromFetch(
  handler: (request: FetchRequest) => FetchResponse | Promise<FetchResponse>,
): Wsgified<[], Promise<Response>> {
  const endToEnd = (headers: Iterable<[string, string]>): HeaderList =>
    [...headers].filter(([name]) => !HOP_BY_HOP.test(name))
  return wsgify(async (req) => {
    const hasBody = req.method !== 'GET' && req.method !== 'HEAD'
    const init = {
      method: req.method, headers: endToEnd(req.headers), signal: req.signal,
      body: hasBody ? webBody(req.environ['wsgi.input']) : null, duplex: 'half',
    }
    const web = await handler(new globalThis.Request(req.url, init as RequestInit))
    const res = fromWebResponse(web)
    res.headerlist = endToEnd(res.headerlist)
    return res
  })
}

// node:http, as far as we use it.
type Listen = (event: string, listener: (chunk: Uint8Array) => void) => unknown
interface NodeSocket {
  remoteAddress?: string | undefined; localPort?: number | undefined; encrypted?: boolean
  destroyed: boolean; writable: boolean; bytesRead: number; bytesWritten: number
  on: Listen; end(text: string): unknown; destroy(): unknown; cork(): void; uncork(): void
}
interface NodeRequest {
  method?: string | undefined; url?: string | undefined; httpVersion: string
  baseUrl?: string; originalUrl?: string; socket: NodeSocket; rawHeaders: string[]
  complete: boolean; destroyed: boolean
  on: Listen; off: Listen
  read(): Uint8Array | null; removeAllListeners(event: string): unknown
}
interface NodeResponse {
  req: { complete: boolean }; socket: NodeSocket | null
  shouldKeepAlive: boolean; strictContentLength: boolean
  headersSent: boolean; writableFinished: boolean; writableLength: number
  once: Listen; emit(event: string): unknown
  writeHead(code: number, reason: string, headers: string[]): unknown
  write(chunk: Chunk, written?: () => void): boolean; end(chunk?: Chunk): unknown
  removeHeader(name: string): unknown; writeContinue(): unknown
}
export type NodeHandler = (req: NodeRequest, res: NodeResponse) => void
export type { Headers, RequestHeaders, WSGIServer } // so that results have a type's name

/**
 * An application as a node:http handler; in Express, `req.baseUrl` becomes SCRIPT_NAME.
 *
 * @example
 * const { createServer } = await import('node:http')
 * const server = createServer(toNode(wsgify(() => 'hello')))
 * await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
 * const { port } = server.address() as { port: number }
 * await (await fetch(`http://127.0.0.1:${port}/`)).text() //=> 'hello'
 * server.close()
 */
export function toNode(app: Application): NodeHandler
export function toNode(app: DecoratedMethod): NodeHandler
export function toNode(app: Application | DecoratedMethod): NodeHandler {
  const limits = { maxBody: Infinity, maxUrlLen: Infinity }
  const host = new NodeHost(app as Application, limits)
  return (req, res) => { host.handle(req, res) }
}

/** A connection, or line: requests may come before the answer to the last is out. */
interface NodeLine {
  host: NodeHost; address: string; port: string; scheme: string
  /** The exchange of the last request that came, until its answer is out. */
  last: NodeExchange | undefined
  /** Those that must know when the client goes away. */
  watching: Set<NodeExchange>
}

interface Limits { maxBody: number; maxUrlLen: number }

/** One application on node:http: what its requests share. */
class NodeHost {
  readonly lines: Map<NodeSocket, NodeLine> = new Map()
  readonly byteLength: (text: string) => number =
    builtin<{ Buffer: Pick<NodeHost, 'byteLength'> }>('node:buffer').Buffer.byteLength
  readonly setImmediate: (run: () => void) => unknown =
    builtin<Pick<NodeHost, 'setImmediate'>>('node:timers').setImmediate
  isStopping = false
  readonly #app: Application
  readonly #limits: Limits
  readonly #keys = new Map<string, string>()

  constructor(app: Application, limits: Limits) {
    this.#app = app
    this.#limits = limits
  }

  /** `isAsked`: the client sends its body only after "100 Continue". */
  handle(req: NodeRequest, res: NodeResponse, isAsked = false): void {
    const line = this.line(req.socket)
    const exchange = new NodeExchange(line, req, res, this.#keys)
    line.last = exchange
    try {
      checkRequest(exchange.environ, this.#limits)
    } catch (error) {
      res.shouldKeepAlive = false // where would the next request begin?
      exchange.isHeld = isAsked
      return exchange.run(answerTo(error, exchange.environ))
    }
    if (isAsked && res.socket) res.writeContinue() // else after the answers before it
    else if (isAsked) res.once('socket', () => res.headersSent || res.writeContinue())
    // Without a body: what nobody reads Node drains, which costs more than all of ours.
    if (exchange.length === 0) req.read()
    exchange.run(this.#app)
  }

  /** What we know of a socket, until it closes. */
  line(socket: NodeSocket): NodeLine {
    const known = this.lines.get(socket)
    if (known) return known
    const line: NodeLine = {
      host: this, last: undefined, watching: new Set(),
      scheme: socket.encrypted ? 'https' : 'http',
      address: socket.remoteAddress ?? '', port: String(socket.localPort ?? 80),
    }
    if (!socket.destroyed) this.lines.set(socket, line)
    socket.on('close', () => {
      this.lines.delete(socket)
      for (const exchange of line.watching) exchange.abort()
    })
    return line
  }
}

/** All of environ but the headers: one literal, so that V8 knows its shape. */
function nodeEnviron(req: NodeRequest, line: NodeLine, exchange: NodeExchange): Environ {
  const { url = '' } = req
  const target = url[0] === '/' ? url : url.replace(/^(\*$|https?:\/\/[^/?#]*)/i, '')
  const mark = target.indexOf('?')
  return Object.defineProperty({
    REQUEST_METHOD: req.method ?? 'GET', REQUEST_URI: req.originalUrl ?? url,
    SCRIPT_NAME: req.baseUrl ? decodePath(req.baseUrl) ?? '' : '',
    PATH_INFO: (mark < 0 ? target : target.slice(0, mark)) || '/',
    QUERY_STRING: mark < 0 ? '' : target.slice(mark + 1),
    SERVER_NAME: 'localhost', SERVER_PORT: line.port,
    SERVER_PROTOCOL: `HTTP/${req.httpVersion}`, REMOTE_ADDR: line.address,
    'wsgi.version': [1, 0], 'wsgi.url_scheme': line.scheme,
    'wsgi.input': exchange.input, 'wsgi.input_terminated': true, 'wsgi.errors': STDERR,
    'wsgi.multithread': false, 'wsgi.multiprocess': false, 'wsgi.run_once': false,
    [EXCHANGE]: exchange,
  }, 'mini.signal', SIGNAL)
}

const EXCHANGE = /* @__PURE__ */ Symbol('exchange')
/** One getter for all: one of its own would cost a request more than its headers. */
const SIGNAL: PropertyDescriptor = {
  get(this: { [EXCHANGE]: NodeExchange }) { return this[EXCHANGE].signal },
  set(value) { Object.defineProperty(this, 'mini.signal', { value, writable: true }) },
  enumerable: true, configurable: true,
}

/** From the raw list, as it came: Node's dictionary drops a second Host. */
function addHeaders(
  environ: Environ, raw: readonly string[], keys: Map<string, string>,
): void {
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] as string
    let key = keys.get(name)
    if (key === undefined) {
      key = name.includes('_') ? '' : headerKey(name) // x_auth_token is no X-Auth-Token
      if (keys.size < 1000) keys.set(name, key) // which no client can make larger
    }
    if (key === '') continue
    const value = raw[at + 1] as string
    const before = environ[key] as string | undefined
    const separator = key === 'HTTP_COOKIE' ? '; ' : ', '
    environ[key] = before === undefined ? value : before + separator + value
  }
}

/** Refuses what Node's parser lets through, but two readers could read in two ways. */
function checkRequest(environ: Environ, { maxBody, maxUrlLen }: Limits): void {
  const { SERVER_PROTOCOL: protocol, REQUEST_URI: url = '' } = environ
  if (!protocol.startsWith('HTTP/1.')) throw new HTTPVersionNotSupported()
  if (url.length > maxUrlLen) throw new HTTPRequestURITooLong()
  if (url.includes('#')) throw new HTTPBadRequest('A URL ends at "#".')
  environ.PATH_INFO = pathOf(environ.PATH_INFO)
  const { HTTP_HOST: host, HTTP_TRANSFER_ENCODING: coding } = environ
  const isHost = host ? HOST.test(host) : host === '' || protocol === 'HTTP/1.0'
  const named = url[0] === '/' ? undefined : /^https?:\/\/([^/?#]*)/i.exec(url)?.[1]
  if (!isHost || (named !== undefined && !HOST.test(named))) {
    throw new HTTPBadRequest('There must be one Host, with a valid name.')
  }
  // The target names the host itself, whatever Host says (RFC 9112 section 3.2.2).
  if (named !== undefined) environ['HTTP_HOST'] = named
  if (coding !== undefined && !(protocol === 'HTTP/1.1' && /^chunked$/i.test(coding))) {
    throw new HTTPBadRequest('Transfer-Encoding must be "chunked", in HTTP/1.1.')
  }
  if (Number(environ.CONTENT_LENGTH) > maxBody) throw tooLarge(String(maxBody))
  if (coding) environ['wsgi.input'] = limited(environ['wsgi.input'], maxBody)
}

/** Status and headers as Node takes them; `length` is their Content-Length, or -1. */
interface Head { code: number; reason: string; flat: string[]; length: number }

/** Refuses what Node would send; it checks names, and values for control characters. */
function headOf(status: string, headers: HeaderList): Head {
  if (!/^[2-9]\d\d [\t\x20-\x7e\x80-\xff]*$/.test(status)) {
    throw new TypeError(`The status ${quote(status)} must be as in "200 OK", from 200 on`)
  }
  const code = Number(status.slice(0, 3))
  const head: Head = { code, reason: status.slice(4), flat: [], length: -1 }
  for (const [name, value] of headers) {
    const isLength = name.length === 14 && /^content-length$/i.test(name)
    const ok = isLength ? head.length < 0 && /^\d+$/.test(value) : !HOP_BY_HOP.test(name)
    if (!ok) {
      throw new TypeError(`The header ${quote(name)}: ${quote(value)} cannot be sent: `
        + 'hop-by-hop ones are the server\'s, and Content-Length is one number')
    }
    if (isLength) head.length = Number(value)
    if (!isLength || isFramed(code)) head.flat.push(name, value)
  }
  return head
}

const isFramed = (code: number): boolean => code !== 204 && code !== 304

/** One request and its answer on node:http. */
class NodeExchange implements ChunkSource {
  readonly environ: Environ
  readonly input: StreamInput
  readonly res: NodeResponse
  readonly length: number // of the request's body; Infinity if that comes in chunks
  isHeld = false // the client was not told to send its body
  readonly #req: NodeRequest
  readonly #line: NodeLine
  #head: Head | undefined
  #reader: BodyReader | undefined
  #controller: AbortController | undefined
  #drained: Promise<void> | undefined // while the client is slower than we are
  #hasBegun = false // the body: then excInfo is late, even if its first chunk still waits
  #hasFailed = false
  #isOver = false

  constructor(
    line: NodeLine, req: NodeRequest, res: NodeResponse, keys: Map<string, string>,
  ) {
    this.#line = line
    this.#req = req
    this.res = res
    this.input = new StreamInput(this)
    this.environ = nodeEnviron(req, line, this)
    addHeaders(this.environ, req.rawHeaders, keys)
    const { CONTENT_LENGTH: length, HTTP_TRANSFER_ENCODING: coding } = this.environ
    this.length = Number(length ?? (coding === undefined ? 0 : Infinity))
  }

  /**
   * The next chunk of the request. After a turn of the event loop it is mostly there, and
   * Node's events, which cost as much as all of ours, are spared.
   */
  async pull(): Promise<Uint8Array | undefined> {
    const req = this.#req
    for (;;) {
      if (!req.complete) await new Promise<void>(this.#line.host.setImmediate)
      const chunk = req.read()
      if (chunk || req.complete) return chunk ?? undefined
      if (req.destroyed) throw new Error('The client went away')
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          req.off('readable', wake)
          req.off('close', wake)
          resolve()
        }
        req.on('readable', wake)
        req.on('close', wake)
      })
    }
  }

  /** The whole of it: calls the application, sends what it returns, now or later. */
  run(app: Application): void {
    try {
      const body = callApplication(app, this.environ, (status, headers, excInfo) => {
        if (excInfo && (this.#hasBegun || this.res.headersSent)) throw excInfo
        if (this.#head && !excInfo) throw new Error(TWICE)
        this.#head = headOf(status, headers)
        return (chunk) => this.#write(joinChunks([chunk]))
      })
      if (!isPromise(body)) return this.#send(body)
      body.then((late) => this.#send(late)).catch((error: unknown) => this.#fail(error))
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Writes at once; gives a promise where the client is slower than we are. */
  #write(chunk: Chunk): void | Promise<void> {
    if (this.#isOver || chunk.length === 0) return undefined
    if (!this.res.headersSent) this.#writeHead(-1)
    if (this.res.write(chunk)) return undefined
    this.#watch()
    this.#drained ??= new Promise((resolve) => {
      this.res.once('drain', () => {
        this.#drained = undefined
        resolve()
      })
    })
    return this.#drained
  }

  #send(body: Body): void {
    if (!isList(body) || !this.#head) return void this.#pump(body)
    this.#end(joinChunks(body), this.#hasBody || body.length > 0)
  }

  /** A sync body is gathered up to 64 KiB a write, an async one goes out as it comes. */
  async #pump(body: Body): Promise<void> {
    try {
      const reader = this.#reader = new BodyReader(body)
      if (!reader.isSync) this.#watch()
      let gathered: Chunk[] = []
      let size = 0
      while (!this.#isOver) {
        if (this.#head && !this.#hasBody) return this.#end('') // HEAD asks for no more
        const next = reader.next()
        const step = isPromise(next) ? await next : next
        if (step.done) return this.#end(joinChunks(gathered))
        gathered.push(step.value)
        size += step.value.length
        this.#hasBegun ||= size > 0
        if (size === 0 || (size < 65536 && reader.isSync)) continue
        await this.#write(joinChunks(gathered))
        gathered = []
        size = 0
      }
      await reader.end() // the client left, perhaps before there was a body
    } catch (error) {
      this.#fail(error)
    }
  }

  /** The last of the answer, or, if `isWhole`, all of it. */
  #end(chunk: Chunk, isWhole = this.#hasBody): void {
    if (this.#isOver) return
    const { byteLength } = this.#line.host
    const length = typeof chunk === 'string' ? byteLength(chunk) : chunk.length
    if (!this.res.headersSent) this.#writeHead(length, isWhole)
    const isEarly = this.input.isPartial
      || !(this.isHeld || this.#req.complete || this.res.shouldKeepAlive)
    const { socket } = this.res
    if (isEarly) this.res.write(chunk, () => { this.#drain() })
    else if (length === 0 || !socket?.writable) this.res.end(chunk)
    else { // corked, head and chunk are one write; end(chunk) adds an empty second one
      socket.cork()
      this.res.write(chunk)
      socket.uncork()
      this.res.end()
    }
    const isRead = this.length === 0 || this.#req.complete
    const isOut = isRead && !isEarly && this.res.writableLength === 0
    if (isOut && this.#line.last === this) this.#line.last = undefined // lets go of it
    this.#finish()
  }

  /**
   * A client that is still sending looks for its answer only afterwards; if we hung up,
   * the reset would take the answer with it. So we read on: 64 MiB or 5 seconds at most.
   */
  #drain(): void {
    const { socket, destroyed } = this.#req
    if (destroyed || socket.destroyed) return void this.res.end('') // nothing will come
    const most = socket.bytesRead + 64 * 1024 * 1024
    const timer = setTimeout(() => { socket.destroy() }, DRAIN_TIME)
    this.#req.removeAllListeners('readable') // those of an iterator that nobody asks
    this.#req.on('data', () => { if (socket.bytesRead > most) socket.destroy() })
    this.#req.on('close', () => { // its end, or the client's
      clearTimeout(timer)
      this.res.end('')
    })
  }

  get #hasBody(): boolean {
    return this.#req.method !== 'HEAD' && isFramed(this.#head?.code ?? 200)
  }

  /** `length` is the whole body's, -1 where it is not known yet. */
  #writeHead(length: number, isWhole = false): void {
    const { res } = this
    const head = this.#head
    if (!head) throw new Error(NEVER)
    if (length < 0) res.strictContentLength = true
    else if (head.length < 0) {
      if (isWhole && isFramed(head.code)) head.flat.push('Content-Length', String(length))
    } else if (this.#hasBody && length !== head.length) {
      throw new Error(`The body has ${length} bytes, Content-Length is ${head.length}`)
    }
    const isLast = this.#line.host.isStopping && this.#line.last === this
    if (isLast || (head.code === 413 && !this.#req.complete)) res.shouldKeepAlive = false
    // Node sends chunks to HTTP/1.0 too, if the client says "TE: chunked".
    if (this.#req.httpVersion === '1.0') res.removeHeader('Transfer-Encoding')
    res.writeHead(head.code, head.reason, head.flat)
  }

  /** Fires when the client goes away before its answer has ended; made on first use. */
  get signal(): AbortSignal {
    this.#watch()
    return (this.#controller ??= new AbortController()).signal
  }

  /** Where our answer waits in line, Node tells nobody that the client has gone. */
  #watch(): void {
    if (this.#isOver) return
    this.#line.watching.add(this)
    if (this.#req.socket.destroyed) this.abort()
  }

  /** The client has gone. */
  abort(): void {
    this.#finish()
    ;(this.#controller ??= new AbortController()).abort()
    this.res.emit('drain') // nobody waits for this client any more
  }

  #finish(): void {
    this.#isOver = true
    this.#line.watching.delete(this)
    const reader = this.#reader
    if (!reader) return
    new Promise((resolve) => { resolve(reader.end()) })
      .catch((error: unknown) => { logError(error, this.environ) })
  }

  /** Before the headers an error has an answer; after them the connection is cut. */
  #fail(error: unknown): void {
    if (this.#isOver) return
    this.#finish()
    if (this.res.headersSent || this.#hasFailed) {
      logError(error, this.environ)
      const cut = (): void => { this.#req.socket.destroy() }
      return void (this.res.socket ? cut() : this.res.once('socket', cut)) // its turn
    }
    this.#isOver = false
    this.#hasFailed = true
    this.#head = undefined
    this.run(answerTo(error, this.environ))
  }
}

const DRAIN_TIME = 5000

/** Several chunks as one: strings stay a string, which costs Node less to send. */
function joinChunks(chunks: readonly Chunk[]): Chunk {
  const [first] = chunks
  if (chunks.length === 1 && isChunk(first)) return first
  if (!chunks.every(isChunk)) {
    throw new TypeError(`Chunks are strings or bytes, not ${quote(chunks)}`)
  }
  const isText = chunks.every((chunk) => typeof chunk === 'string')
  return isText ? chunks.join('') : joinBytes(chunks.map(toBytes))
}

// 12. Serving ───────────────────────────────────────────────────────────────────────────
// Arrives: an application and a port. Leaves: bytes on sockets, until it is told to stop;
// and then the requests in flight still get their answers. Here ours begins and ends:
// 'GET /v1/servers/42?detail=1 HTTP/1.1' in, 'HTTP/1.1 200 OK' out.

/** Times are in milliseconds, but for the last; sizes in bytes. */
export type ServerOptions = Partially<{
  headersTimeout: number // from the connection to the end of the headers: then 408
  requestTimeout: number // to the end of the request's body: then 408
  keepAliveTimeout: number // between two requests on a connection
  idleTimeout: number // without a byte in either direction, while an answer is awaited
  maxBody: number // 413 beyond it
  maxUrlLen: number // 414 beyond it
  ssl: { key?: string | Uint8Array; cert?: string | Uint8Array } // PEM texts; then https
  /** How many seconds requests in flight are given when the server stops. */
  gracefulShutdownTimeout: number
}>

/**
 * Serves an application; resolves when it is bound and answering (wsgiref's make_server).
 *
 * @example
 * const server = await makeServer('127.0.0.1', 0, wsgify(() => 'hello'))
 * await (await fetch(`http://127.0.0.1:${server.port}/`)).text() //=> 'hello'
 * await server.shutdown(0)
 */
export function makeServer(
  host: string, port: number, app: Application, options?: ServerOptions,
): Promise<WSGIServer>
export function makeServer(
  host: string, port: number, app: DecoratedMethod, options?: ServerOptions,
): Promise<WSGIServer>
export async function makeServer(
  host: string, port: number, app: Application | DecoratedMethod,
  options: ServerOptions = {},
): Promise<WSGIServer> {
  const { headersTimeout = 20e3, requestTimeout = 60e3, keepAliveTimeout = 65e3,
    idleTimeout = 900e3, maxBody = 10 << 20, maxUrlLen = 8192, ssl } = options
  if (ssl && !(ssl.key && ssl.cert)) {
    throw new TypeError(`The option ssl lacks ${ssl.key ? 'cert' : 'key'}; give key and `
      + 'cert, the texts of two PEM files')
  }
  const { createServer } = builtin<{ createServer(options: object): NodeServer }>(
    ssl ? 'node:https' : 'node:http')
  const server = createServer({
    ...ssl, requestTimeout, keepAliveTimeout, IncomingMessage: leanRequest(),
    requireHostHeader: false, // we look ourselves
    headersTimeout: Math.min(headersTimeout, requestTimeout || Infinity),
    connectionsCheckingInterval: 500, // Node looks for late ones every 30 s (SAFETY 17)
  })
  server.maxHeadersCount = 0 // all of them: Node would hide those after the 1000th
  const node = new NodeHost(app as Application, { maxBody, maxUrlLen })
  const handleAsked: NodeHandler = (req, res) => { node.handle(req, res, true) }
  const handle: NodeHandler = (req, res) => { node.handle(req, res) }
  server.on('request', handle)
  server.on('checkContinue', handleAsked)
  server.on('connection', (socket: NodeSocket) => { node.line(socket) })
  const refused = new WeakSet<NodeSocket>() // Node tells it of each further chunk
  server.on('clientError', ({ code = '' }: { code?: string }, socket: NodeSocket) => {
    if (refused.has(socket)) return
    refused.add(socket)
    answerClientError(code, socket, node.line(socket).last?.res)
  })
  await listen(server, host, port)
  if (idleTimeout > 0) watchIdle(server, node, idleTimeout)
  return new WSGIServer(server, node, options.gracefulShutdownTimeout ?? 30)
}

/** Cuts who moved no byte for `ms`, or a little longer: one timer for all is cheap. */
function watchIdle(server: NodeServer, { lines }: NodeHost, ms: number): void {
  const moved = new WeakMap<NodeSocket, number>()
  const timer = setInterval(() => {
    for (const [socket] of lines) {
      const bytes = socket.bytesRead + socket.bytesWritten
      if (moved.get(socket) === bytes) socket.destroy()
      moved.set(socket, bytes)
    }
  }, ms)
  server.on('close', () => { clearInterval(timer) })
}

/** Node makes a dictionary of all headers, only to look up this one. */
function leanRequest(): new () => NodeRequest {
  const { IncomingMessage } =
    builtin<{ IncomingMessage: new () => NodeRequest }>('node:http')
  return class extends IncomingMessage {
    get headers(): { expect: string | undefined } {
      const { rawHeaders: raw } = this
      const at = raw.findIndex((text, i) =>
        i % 2 === 0 && text.length === 6 && /^expect$/i.test(text))
      return { expect: at < 0 ? undefined : raw[at + 1] }
    }
  }
}

interface NodeServer {
  maxHeadersCount: number | null
  on(event: string, listener: (...args: never[]) => void): unknown
  listen(place: { host: string; port: number }): unknown
  address(): { port: number } | null
  close(): unknown; closeIdleConnections(): void
}

const listen = (server: NodeServer, host: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.on('error', (error: Error) => { // later ones, like EMFILE, end no server
      reject(new Error(`Cannot listen on ${host}:${port}: ${error.message}; choose `
        + 'another port, or stop what has this one', { cause: error }))
    })
    server.on('listening', resolve)
    server.listen({ host, port })
  })

/** What never became a request is answered too, but not before an earlier request. */
function answerClientError(code: string, socket: NodeSocket, res?: NodeResponse): void {
  const isPending = res !== undefined && !res.writableFinished
  if (isPending && res.req.complete) {
    res.once('finish', () => { endWith('', socket) })
  } else if (isPending && !res.socket) { // it waits for its turn
    res.once('socket', () => { answerClientError(code, socket, res) })
  } else if (res && !res.req.complete && !isPending) {
    socket.destroy() // it has its answer
  } else if (socket.writable) {
    const status = CLIENT_ERRORS[code] ?? '400 Bad Request'
    endWith(isPending && res.headersSent ? ''
      : `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, socket)
  }
}

/** A client that does not hang up then is cut. */
function endWith(text: string, socket: NodeSocket): void {
  socket.end(text)
  const timer = setTimeout(() => { socket.destroy() }, DRAIN_TIME)
  socket.on('close', () => { clearTimeout(timer) })
}

const CLIENT_ERRORS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Request Entity Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

interface NodeProcess {
  env: Readonly<Record<string, string | undefined>>
  pid: number; version: string
  uptime(): number; memoryUsage(): object
  on(event: string, listener: (reason: unknown) => void): unknown
  off(event: string, listener: (reason: unknown) => void): unknown
  exit(code: number): unknown
}

/** A server that listens, made by makeServer. */
class WSGIServer {
  /** The port that was bound: the real one where 0 was asked for. */
  readonly port: number
  readonly #server: NodeServer
  readonly #host: NodeHost
  readonly #grace: number
  readonly #closed: Promise<void>

  constructor(server: NodeServer, host: NodeHost, grace: number) {
    this.port = server.address()?.port ?? 0
    this.#server = server
    this.#host = host
    this.#grace = grace
    this.#closed = new Promise((resolve) => { server.on('close', resolve) })
  }

  /** How many connections wait for the end of an answer. */
  get inFlight(): number {
    const lines = [...this.#host.lines.values()]
    return lines.filter(({ last }) => last && !last.res.writableFinished).length
  }

  /** Serves until SIGINT, SIGTERM or shutdown(); a second signal ends it at once. */
  async serveForever(): Promise<void> {
    const stop = async (): Promise<void> => {
      const areAllAnswered = await this.shutdown(this.#host.isStopping ? 0 : this.#grace)
      if (!areAllAnswered) builtin<NodeProcess>('node:process').exit(0)
    }
    const off = handleSignals({ SIGINT: stop, SIGTERM: stop })
    await this.#closed
    off()
  }

  /** Takes no more; gives requests in flight at most `seconds`: was that enough? */
  async shutdown(seconds: number = this.#grace): Promise<boolean> {
    const { lines } = this.#host
    let areAllAnswered = true
    this.#host.isStopping = true // from now on the last answer says "Connection: close"
    const { Server } = builtin<{ Server: { prototype: NodeServer } }>('node:net')
    Server.prototype.close.call(this.#server) // http's own cuts who writes just now
    const sweep = setInterval(() => setTimeout(() => { // what has come is read before
      this.#server.closeIdleConnections() // those that were never used are busy to Node
      for (const [socket, { last }] of lines) {
        if (!last && socket.bytesRead === 0) socket.destroy()
      }
    }, 0), IDLE_TIME)
    const cut = setTimeout(() => {
      areAllAnswered = this.inFlight === 0
      for (const [socket] of lines) socket.destroy()
    }, seconds * 1000)
    await this.#closed
    this.#server.close() // ends Node's own watch over late requests
    clearInterval(sweep)
    clearTimeout(cut)
    return areAllAnswered
  }
}

/** Clients that are not idle ask again before it has passed, and learn that we end. */
const IDLE_TIME = 500

/** Handles these, and rejections that nobody waits for, until the result is called. */
function handleSignals(handlers: Record<string, () => unknown>): () => void {
  const node = builtin<NodeProcess>('node:process')
  const unhandledRejection = (reason: unknown): void => {
    console.error(`Unhandled rejection: ${errorText(reason)}`)
  }
  const all = Object.entries({ ...handlers, unhandledRejection })
  for (const [event, handler] of all) node.on(event, handler)
  return () => { for (const [event, handler] of all) node.off(event, handler) }
}

/** Hooks around a service's start, and the loader, which gives an app by its name. */
export type ServiceOptions = ServerOptions & Partially<{
  host: string; port: number; workers: number; useSsl: boolean
  manager: Partial<Record<'initHost' | 'preStartHook' | 'postStartHook', () => unknown>>
}> & { loader: { loadApp(name: string): Application | Promise<Application> } }

/**
 * An application by its name, and where it is served (nova's WSGIService). Without
 * `workers` there is one for each CPU; `useSsl` insists on `ssl`, or ignores it.
 *
 * @example
 * const loader = { loadApp: (name: string) => wsgify(() => `this is ${name}`) }
 * const service = new WSGIService('v1', { loader, host: '127.0.0.1', workers: 2 })
 * const server = await service.start()
 * await (await fetch(`http://127.0.0.1:${service.port}/`)).text() //=> 'this is v1'
 * await server.shutdown(0)
 */
export class WSGIService {
  readonly name: string
  readonly workers: number
  readonly options: ServiceOptions
  port: number // the real one, as soon as it is bound
  app: Application | undefined // as soon as it is loaded
  server: WSGIServer | undefined // as soon as it listens

  constructor(name: string, options: ServiceOptions) {
    const { workers = 0, port = 0 } = options
    if (!Number.isInteger(workers) || workers < 0) {
      throw new TypeError(`The service ${quote(name)} cannot have ${workers} workers; `
        + 'give a positive number, or 0 for one on each CPU')
    }
    this.name = name
    this.options = options
    this.port = port
    this.workers = workers
      || builtin<{ availableParallelism(): number }>('node:os').availableParallelism()
  }

  /** Serves the application in this process; or, for a moment, a stand-in. */
  async start(standIn?: Application): Promise<WSGIServer> {
    const { loader, host = '0.0.0.0', useSsl, ssl, ...options } = this.options
    const tls = useSsl === false ? undefined : ssl ?? (useSsl ? {} : undefined)
    const manager = standIn ? undefined : options.manager
    this.app = standIn ?? await loader.loadApp(this.name)
    await manager?.initHost?.()
    await manager?.preStartHook?.()
    this.server = await makeServer(host, this.port, this.app, { ...options, ssl: tls })
    this.port = this.server.port
    await manager?.postStartHook?.()
    return this.server
  }
}

/**
 * Serves from worker processes (oslo's ProcessLauncher, on node:cluster). Each runs the
 * same program, in which launchService then serves only the worker's own service.
 * SIGTERM: all requests get their answers, then it ends; a second one: at once. SIGHUP:
 * workers are replaced, one after another. SIGUSR2: all print a report.
 *
 * @example
 * async function main(loader: Loader): Promise<void> {
 *   const launcher = new ProcessLauncher()
 *   await launcher.launchService(new WSGIService('compute', { loader, port: 8774 }))
 *   await launcher.wait()
 * }
 * typeof main //=> 'function'
 */
export class ProcessLauncher {
  readonly #cluster = builtin<NodeCluster>('node:cluster')
  readonly #process = builtin<NodeProcess>('node:process')
  readonly #posts: Post[] = []
  readonly #workers = new Set<NodeWorker>() // also those that start or finish
  #service: WSGIService | undefined // in a worker: what it serves
  #off: (() => void) | undefined // gives the signals back
  #reloaded: Promise<void> = Promise.resolve()
  #isStopping = false
  #tell: (error?: Error) => void = () => {}
  /** Resolves when told to stop: by a signal, or by an error. */
  readonly #told = new Promise<Error | undefined>((resolve) => { this.#tell = resolve })

  /** Resolves when the service answers: in all its workers; in a worker, in this one. */
  async launchService(
    service: WSGIService, { workers = service.workers }: { workers?: number } = {},
  ): Promise<void> {
    const { isPrimary } = this.#cluster
    // A port in use ends it here; and 0 becomes the one that all workers will share.
    if (isPrimary) await (await service.start(new HTTPServiceUnavailable())).shutdown(0)
    this.#off ??= handleSignals({
      SIGTERM: () => { this.#stop() },
      SIGINT: () => { if (isPrimary) this.#stop() }, // a terminal sends it to all of us
      SIGHUP: () => { this.#reloaded = this.#reloaded.then(() => this.#reload()) },
      SIGUSR2: () => { this.#report() },
    })
    if (!isPrimary) return this.#serve(service)
    const posts = Array.from({ length: workers }, (): Post => ({ service, failures: 0 }))
    this.#posts.push(...posts)
    await Promise.all(posts.map((post) => this.#fill(post)))
    if (this.#isStopping) await this.wait()
  }

  /** In a worker. (Where its parent dies, Node itself ends it.) */
  async #serve(service: WSGIService): Promise<void> {
    const { MINI_WSGI_SERVICE: name, MINI_WSGI_PORT: port } = this.#process.env
    if (service.name !== name) return
    this.#service = service
    service.port = Number(port)
    try {
      await service.start()
    } catch (error) {
      console.error(errorText(error))
      this.#process.exit(1) // whatever the program would make of it
    }
  }

  /** Resolves when it was told to stop, and the requests in flight have their answers. */
  async wait(): Promise<void> {
    const error = await this.#told
    if (await this.#service?.server?.shutdown() === false) this.#process.exit(0)
    if (this.#service) {
      this.#cluster.worker?.disconnect() // once the parent gives us no more connections
      const { setTimeout } = builtin<{
        setTimeout(run: () => void, ms: number): { unref(): unknown } }>('node:timers')
      setTimeout(() => { this.#process.exit(0) }, 1000).unref() // if something keeps us
    }
    const graces = this.#posts.map(({ service: { options } }) =>
      options.gracefulShutdownTimeout ?? 30)
    const late = setTimeout(() => { this.#stop() }, 2000 + 1000 * Math.max(...graces))
    await Promise.all([...this.#workers].map((worker) =>
      new Promise((resolve) => { worker.on('exit', resolve) })))
    clearTimeout(late) // which ends a worker that hangs, or that a timer keeps alive
    this.#off?.()
    if (error) throw error
  }

  /** All may finish what they do; the second time it ends at once. */
  #stop(error?: Error): void {
    const signal = this.#isStopping ? 'SIGKILL' : 'SIGTERM'
    this.#isStopping = true
    for (const { process } of this.#workers) process.kill(signal)
    this.#tell(error)
  }

  /** Gives a post a worker that serves; the more of them failed in a row, the later. */
  async #fill(post: Post): Promise<void> {
    while (post.failures < 5) {
      const pause = post.failures && 50 * 2 ** post.failures
      await new Promise((resolve) => { setTimeout(resolve, pause) })
      if (await this.#start(post)) return
    }
    this.#stop(new Error(`The service ${quote(post.service.name)} does not start: 5 `
      + 'workers in a row ended before they had served for a second; see what they say'))
  }

  /** Starts a worker, which takes the place of the one that is there; or is false. */
  #start(post: Post): Promise<boolean> {
    if (this.#isStopping) return Promise.resolve(true)
    const { name, port } = post.service
    const worker =
      this.#cluster.fork({ MINI_WSGI_SERVICE: name, MINI_WSGI_PORT: String(port) })
    this.#workers.add(worker)
    const { process } = worker
    const send = process.send.bind(process)
    let passed: { close(): unknown } | undefined // the last connection it was given
    process.send = (message, handle, ...rest) => { // of Node, or of the program
      if ((message as { act?: unknown } | null)?.act === 'newconn') passed = handle
      return send(message, handle, ...rest)
    }
    return new Promise((resolve) => {
      let since = Infinity
      worker.on('listening', (at: { port: number }) => {
        if (at.port !== port) return // another server of the program
        post.worker?.process.kill('SIGTERM') // its disconnect() would cut idle clients
        post.worker = worker
        since = Date.now()
        resolve(true)
      })
      const end = (code: unknown, signal?: unknown): void => {
        if (!this.#workers.delete(worker)) return
        const isEarly = Date.now() - since < 1000 // it may not have listened at all
        const isRetired = since < Infinity && post.worker !== worker
        // Those that others kill are followed more slowly, but not given up.
        const most = /^SIG(KILL|TERM|INT)$/.test(String(signal)) ? 4 : 5
        if (!isRetired) post.failures = isEarly ? Math.min(post.failures + 1, most) : 0
        resolve(this.#isStopping)
        if (this.#isStopping || post.worker !== worker) return
        if (signal ?? code) passed?.close() // Node waits until the worker says it has it
        console.error(`Worker ${process.pid} of ${name} ended: ${signal ?? code}`)
        void this.#fill(post)
      }
      worker.on('exit', end)
      worker.on('error', (error: unknown) => { if (!process.pid) end(error) }) // no room
    })
  }

  async #reload(): Promise<void> {
    for (const post of this.#posts) {
      if (await this.#start(post)) continue
      return console.error('A new worker does not start; the others stay as they are')
    }
  }

  /** How we are, and what we do (oslo's guru meditation report). */
  #report(): void {
    const { pid, version, uptime, memoryUsage } = this.#process
    const { name, app, server } = this.#service ?? {}
    const workers = this.#posts.flatMap(({ worker }) => worker?.process ?? [])
    console.error(JSON.stringify({
      pid, 'mini-wsgi': VERSION, node: version, seconds: uptime(), ...memoryUsage(),
      service: name, 'requests in flight': server?.inFlight,
      workers: workers.map((worker) => worker.pid),
    }, null, 2), app ? `\n${describe(app)}` : '')
    for (const worker of workers) worker.kill('SIGUSR2') // it has more to tell
  }
}

/** A place for one worker, and how many in a row did not stay on it for a second. */
interface Post { service: WSGIService; worker?: NodeWorker; failures: number }
interface NodeWorker {
  process: {
    pid?: number; kill(signal: string): unknown
    send(message: unknown, handle?: { close(): unknown }, ...rest: unknown[]): unknown
  }
  on(event: string, listener: (...args: never[]) => void): unknown
}
interface NodeCluster {
  isPrimary: boolean; worker?: { disconnect(): unknown }; fork(env: object): NodeWorker
}
