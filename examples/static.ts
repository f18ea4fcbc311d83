// FileApp and DirectoryApp (webob.static): files as applications.
//
//     router.mount('/static', new DirectoryApp('public'))
//
// A request can ask for any path. So one is served only if every name of it is an ordinary
// one, and what it comes to, links followed, lies below the root.

import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { open, realpath, stat } from 'node:fs/promises'
import { extname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import {
  HTTPForbidden, HTTPMethodNotAllowed, HTTPMovedPermanently, HTTPNotFound,
  HTTPPreconditionFailed, Response, wsgify,
} from '../mini-wsgi.ts'
import type { Application, ApplicationFunction, Request } from '../mini-wsgi.ts'

const BLOCK = 64 * 1024
const TYPES: ReadonlyMap<string, string> = new Map([
  ['.css', 'text/css; charset=UTF-8'], ['.html', 'text/html; charset=UTF-8'],
  ['.js', 'text/javascript; charset=UTF-8'], ['.txt', 'text/plain; charset=UTF-8'],
  ['.json', 'application/json'], ['.ico', 'image/x-icon'], ['.jpg', 'image/jpeg'],
  ['.png', 'image/png'], ['.svg', 'image/svg+xml'], ['.woff2', 'font/woff2'],
])

/** One file, which the program chose: it may be a link. */
export class FileApp {
  readonly filename: string
  readonly contentType: string
  readonly __call__: ApplicationFunction = wsgify((req) => this._respond(req))

  constructor(filename: string, options: { contentType?: string } = {}) {
    this.filename = filename
    this.contentType = options.contentType
      ?? TYPES.get(extname(filename).toLowerCase()) ?? 'application/octet-stream'
  }

  async _respond(req: Request): Promise<Application> {
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      return new HTTPMethodNotAllowed({ headers: [['Allow', 'GET, HEAD']] })
    }
    let file: FileHandle | undefined
    try {
      // A pipe would else be opened only when somebody writes into it.
      file = await open(this.filename, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
      const res = await this.#answer(req, file)
      if (res.appIter instanceof FileBody) file = undefined // which closes it
      return res
    } catch (error) {
      return refusal(error)
    } finally {
      await file?.close()
    }
  }

  async #answer(req: Request, file: FileHandle): Promise<Response> {
    const stats = await file.stat({ bigint: true })
    if (!stats.isFile()) throw new HTTPNotFound()
    const size = Number(stats.size)
    const modified = new Date(Math.floor(Number(stats.mtimeMs) / 1000) * 1000)
    const etag = `"${stats.size.toString(16)}-${stats.mtimeNs.toString(16)}"`
    const headerlist: [string, string][] = [['Accept-Ranges', 'bytes'], ['ETag', etag],
      ['Last-Modified', modified.toUTCString()]]
    const status = condition(req, etag, modified)
    if (status === 412) throw new HTTPPreconditionFailed()
    if (status === 304) return new Response({ status, headerlist })
    const range = rangeOf(req, etag, modified, size)
    if (range === null) {
      headerlist.push(['Content-Range', `bytes */${size}`])
      return new Response({ status: 416, headerlist })
    }
    const [from, to] = range ?? [0, size]
    headerlist.push(['Content-Type', this.contentType], ['Content-Length', `${to - from}`])
    if (range) headerlist.push(['Content-Range', `bytes ${from}-${to - 1}/${size}`])
    return new Response({
      status: range ? 206 : 200, headerlist, appIter: new FileBody(file, from, to),
    })
  }
}

/** The bytes from `from` to before `to`, read as fast as they are taken. */
class FileBody {
  readonly #file: FileHandle
  readonly #to: number
  #at: number

  constructor(file: FileHandle, from: number, to: number) {
    this.#file = file
    this.#at = from
    this.#to = to
  }

  [Symbol.asyncIterator](): this { return this }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const length = Math.min(BLOCK, this.#to - this.#at)
    if (length === 0) return { done: true, value: undefined }
    const { bytesRead, buffer } =
      await this.#file.read(new Uint8Array(length), 0, length, this.#at)
    if (bytesRead === 0) throw new Error('The file has become shorter while it was sent')
    this.#at += bytesRead
    return { done: false, value: buffer.subarray(0, bytesRead) }
  }

  close(): Promise<void> { return this.#file.close() }
}

/** What the headers If-* make of it (RFC 9110, 13.2.2): 412, 304, or 200. */
function condition(req: Request, etag: string, modified: Date): 200 | 304 | 412 {
  const header = (name: string): string | null => req.headers.get(name)
  const [match, noneMatch] = [header('If-Match'), header('If-None-Match')]
  const unmodifiedSince = dateOf(header('If-Unmodified-Since'))
  const isStale = match === null ? Number(modified) > unmodifiedSince
    : !tagsOf(match).some((tag) => tag === '*' || tag === etag)
  if (isStale) return 412
  const isSame = noneMatch === null
    ? Number(modified) <= dateOf(header('If-Modified-Since'))
    : tagsOf(noneMatch).some((tag) => tag === '*' || tag.replace(/^W\//, '') === etag)
  return isSame ? 304 : 200
}

const tagsOf = (list: string): string[] =>
  list.trim() === '*' ? ['*'] : list.match(/(?:W\/)?"[^"]*"/g) ?? []
// The three forms of an HTTP date (RFC 9110, 5.6.7); Date.parse takes nearly any text.
const DATE = new RegExp('^(?:[a-z]{3}, \\d\\d [a-z]{3} \\d{4} [\\d:]{8} GMT'
  + '|[a-z]+day, \\d\\d-[a-z]{3}-\\d\\d [\\d:]{8} GMT'
  + '|[a-z]{3} [a-z]{3} [ \\d]\\d [\\d:]{8} \\d{4})$', 'i')
/** NaN, which compares with nothing, where there is no date. */
const dateOf = (text: string | null): number =>
  DATE.test(text ?? '') ? Date.parse(`${text}`.replace(/(\d{4})$/, '$1 GMT')) : NaN

/** One range; undefined where the whole file is the answer, null where there is nothing. */
function rangeOf(
  req: Request, etag: string, modified: Date, size: number,
): [from: number, to: number] | null | undefined {
  const [, first = '', last = ''] =
    /^bytes=(\d*)-(\d*)$/i.exec(req.headers.get('Range') ?? '') ?? []
  const validator = req.headers.get('If-Range')
  const isCurrent = validator === null || validator === etag
    || dateOf(validator) === Number(modified)
  const isBackward = first !== '' && last !== '' && Number(last) < Number(first)
  if (req.method !== 'GET' || !isCurrent || isBackward || first + last === '') {
    return undefined
  }
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const to = first === '' || last === '' ? size : Math.min(size, Number(last) + 1)
  return from < to ? [from, to] : null
}

function refusal(error: unknown): Application {
  const { code = '' } = error as { code?: string | number }
  if (/^(ENOENT|ENOTDIR|ELOOP|ENAMETOOLONG|ENXIO)$/.test(String(code))) {
    return new HTTPNotFound()
  }
  if (code === 'EACCES' || code === 'EPERM') return new HTTPForbidden()
  throw error
}

/** The files below a folder; none whose name begins with a dot, or that is elsewhere. */
export class DirectoryApp {
  readonly path: string
  readonly indexPage: string | null
  readonly __call__: ApplicationFunction = wsgify((req) => this._respond(req))

  /** A folder shows its index page; null: nothing. */
  constructor(path: string, options: { indexPage?: string | null } = {}) {
    this.path = resolve(path)
    this.indexPage = options.indexPage === undefined ? 'index.html' : options.indexPage
  }

  /** A seam: what serves a file. */
  _makeFileApp(filename: string): Application { return new FileApp(filename) }

  _respond(req: Request): Promise<Application> { return this.#find(req).catch(refusal) }

  async #find(req: Request): Promise<Application> {
    // None empty, none with a dot first, none that another system would read as two.
    // PATH_INFO is decoded already: what still looks encoded is a name.
    const hasSlash = /^$|\/$/.test(req.pathInfo)
    const path = req.pathInfo.replace(/^\/|\/$/g, '')
    const names = path === '' ? [] : path.split('/')
    if (!names.every((name) => /^[^.\\\0][^\\\0]*$/.test(name))) return new HTTPNotFound()
    const root = await realpath(this.path)
    let found = await realpath(join(root, ...names))
    let stats = await stat(found)
    if (stats.isDirectory() && this.indexPage !== null) {
      found = await realpath(join(found, this.indexPage))
      if (!/\/$/.test(req.path)) return new HTTPMovedPermanently({ addSlash: true })
      stats = await stat(found)
    } else if (hasSlash) {
      return new HTTPNotFound()
    }
    return stats.isFile() && isBelow(root, found) ? this._makeFileApp(found)
      : new HTTPNotFound()
  }
}

/** Whether it lies below the root, and not where a name begins with a dot. */
function isBelow(root: string, path: string): boolean {
  const way = relative(root, path)
  return !isAbsolute(way) && way.split(sep).every((name) => /^[^.]/.test(name))
}
