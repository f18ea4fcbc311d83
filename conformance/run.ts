// Asks mini-wsgi what record.py asked the real Python libraries, and compares.
//
//   const { passed, failed } = await replay(port, 'routes')
//
// A case is {id, kind, given, asks}. KINDS[kind] builds something from `given` and says
// how to answer each question about it; an ask is [question, ...its arguments, the answer
// of the real library]. record.py has a twin of every function here.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync }
  from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type * as MiniWsgi from '../mini-wsgi.ts'
import type { Application, Chunk, Environ, Filter, HeaderList, Request }
  from '../mini-wsgi.ts'

/** The namespace object of mini-wsgi. */
export type Port = typeof MiniWsgi
export interface Failure { id: string; want: unknown; got: unknown }
export interface Result { passed: number; failed: Failure[] }

type Dict = Record<string, unknown>
type Conf = Record<string, string>
type Blank = [url: string, options: Dict]
type Answers = Record<string, (...args: never[]) => unknown>
type Built = Record<string, ((...args: unknown[]) => unknown) | undefined>
interface Case { id: string; kind: string; given: unknown; asks: unknown[][] }

/** Replay one file of cases: how many checks passed, and each one that failed. */
export async function replay(port: Port, name: 'routes' | 'webstack'): Promise<Result> {
  const failed: Failure[] = []
  let passed = 0
  for (const { id, kind, given, asks } of read(name)) {
    const build = KINDS[kind] as (port: Port, given: unknown) => Built
    let answers: Built | undefined
    let broken: unknown
    try { answers = build(port, given) } catch (error) { broken = error }
    for (const ask of asks) {
      const [question, ...args] = ask.slice(0, -1) as [string, ...unknown[]]
      const want = ask.at(-1)
      let got: unknown
      try {
        if (!answers) throw broken
        got = plain(await answers[question]!(...args))
      } catch (error) { got = { $error: String(error) } }
      if (same(want, got)) passed += 1
      else failed.push({ id: `${id}: ${JSON.stringify([question, ...args])}`, want, got })
    }
    answers?.['end']?.()
  }
  return { passed, failed }
}

/** The cases of one file: beside the sources, also when this runs from dist/. */
function read(name: string): Case[] {
  const beside = ['./', '../../conformance/'].map((way) => new URL(way, import.meta.url))
  const file = beside.map((folder) => new URL(`${name}.json`, folder)).find(existsSync)
  return JSON.parse(readFileSync(file ?? name, 'utf8'), (_key, value) =>
    typeof value?.$fn === 'string' ? FUNCTIONS[value.$fn] : value).cases
}

/** As JSON would hold it: no prototypes, no undefined. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null))

/** Equal, or an error where one is due (but not a slip such as calling undefined). */
function same(want: unknown, got: unknown): boolean {
  const due = want as { $error?: unknown } | null
  if (!due?.$error) return isDeepStrictEqual(want, got)
  const error = (got as { $error?: string } | null)?.$error
  return typeof error === 'string' && !/^TypeError.*(a function|of undefined)/.test(error)
}

// ---------------------------------------------------------------- one request

type Headers = Record<string, string[]>
interface Answer { status: string; headers: Headers; length: unknown; body: unknown }

const bytes = (chunk: Chunk): Uint8Array =>
  typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk

/** Request.blank's environ; `unsized` stands for a chunked body. */
function makeEnviron(port: Port, [url, { unsized, ...options }]: Blank): Environ {
  const { environ } = port.Request.blank(url, options)
  if (unsized) {
    delete environ['CONTENT_LENGTH']
    environ['wsgi.input_terminated'] = true
  }
  return environ
}

/** Run an application to its last byte, and tell what it answered as record.py does. */
async function call(port: Port, app: Application, blank: Blank): Promise<Answer> {
  let status = ''
  let list: HeaderList = []
  const chunks: Uint8Array[] = []
  const write = (chunk: Chunk): void => { chunks.push(bytes(chunk)) }
  const environ = makeEnviron(port, blank)
  const answered = await port.callApplication(app, environ, (line, headers) => {
    [status, list] = [line, headers]
    return write
  })
  const { close } = answered as { close?: () => void }
  try {
    for await (const chunk of answered) write(chunk)
  } finally { close?.call(answered) }
  const headers = headerMap(list)
  const body = Buffer.concat(chunks)
  const lengths = list.filter(([name]) => /^content-length$/i.test(name)).map((h) => h[1])
  const right = isDeepStrictEqual(lengths, [String(body.length)])
  return { status, headers, length: right ? 'right' : lengths,
    body: bodyValue(headers, body.toString()) }
}

const LISTS = /^(vary|allow|access-control-.*)$/

/** Names in lower case; Content-Length is told by `length`. */
function headerMap(list: HeaderList): Headers {
  const map: Headers = {}
  for (const [mixed, text] of list) {
    const name = mixed.toLowerCase()
    let value = text
    if (name === 'set-cookie') value = cookieText(value)
    if (LISTS.test(name)) value = value.split(/\s*,\s*/).join(', ')
    if (name !== 'content-length') (map[name] ??= []).push(value)
  }
  return map
}

/** In lower case and sorted; Expires left out: Max-Age says the same. */
const cookieText = (value: string): string => value.toLowerCase().split(/;\s*/)
  .filter((part) => !part.startsWith('expires=')).sort().join('; ')

const squeeze = (text: string): string => text.trim().replace(/\s+/g, ' ')

/** JSON as data, texts and error pages with their white space squeezed. */
function bodyValue(headers: Headers, text: string): unknown {
  if (!headers['content-type']?.[0]?.includes('json') || text === '') return squeeze(text)
  const data = JSON.parse(text)
  if (typeof data?.message === 'string') data.message = squeeze(data.message)
  return data
}

/** An application that answers where it stands, and through which filters. */
const echo = (label: string): Application => (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'application/json']])
  const trail = (environ['test.trail'] ?? []) as string[]
  return [JSON.stringify([label, environ['SCRIPT_NAME'], environ['PATH_INFO'], ...trail])]
}

// ---------------------------------------------------------------- Routes

/** What a table of routes or a sub-mapper is used for here. */
interface Table {
  connect(...args: unknown[]): void
  submapper(options: unknown): Table
}
type Generator = MiniWsgi.URLGenerator
type RouteLike = { name?: string | null | undefined; routepath: string; defaults: Dict
  conditions?: unknown }

/** Conditions and filters that record.py has too. */
const FUNCTIONS: Record<string, unknown> = {
  evenId: (_environ: unknown, result: Conf) => Number(result['id']) % 2 === 0,
  addUser: (_environ: unknown, result: Conf) => { result['user'] = 'ada'; return true },
  token: (environ?: Environ | null) => environ?.['HTTP_X_TOKEN'] === 'open sesame',
  splitMonth: ({ month, ...args }: Conf) => {
    const [year, mon] = month?.split('-') ?? []
    return month ? { ...args, year, mon } : args
  },
  defaultLang: (args: Conf) => ({ ...args, lang: args['lang'] ?? 'en' }),
}

const KEYS = ['SCRIPT_NAME', 'PATH_INFO', 'REQUEST_METHOD'] as const
const routeInfo = (route: RouteLike | null | undefined): [string | null, string] | null =>
  route ? [route.name ?? null, route.routepath.replace(/:\((\w+)\)/g, '{$1}')] : null

function mapper(port: Port, [options, steps]: [Dict, [string, ...unknown[]][]]): Answers {
  const table = new port.Mapper(options)
  const made: Record<string, Table> = { null: table as unknown as Table }
  for (const [op, a, b, c, on] of steps) {
    const target = made[String(on)]
    if (op === 'connect' && a === null) target!.connect(b, c)
    else if (op === 'connect') target!.connect(a, b, c)
    else if (op === 'submapper') made[String(a)] = made[String(c)]!.submapper(b)
    else if (op === 'resource') table.resource(a as string, b as string, c as Dict)
    else if (op === 'redirect') table.redirect(a as string, b as string, c as Dict)
    else table.extend((a as [string, string, Dict][])
      .map(([name, path, opts]) => new port.Route(name, path, opts)), b as string)
  }
  const url = (generator: Generator, name: string | null, vars: Dict): unknown => {
    try { return generator.url(name, vars) } catch (error) {
      if (error instanceof port.GenerationError) return null
      throw error
    }
  }
  return {
    match(path: string, environ?: Partial<Environ>) {
      const found = table.routematch(path, environ)
      const same = isDeepStrictEqual(table.match(path, environ), found?.[0] ?? null)
      if (!same) return 'match and routematch disagree'
      return found && [found[0], ...routeInfo(found[1]) ?? []]
    },
    generate: (name: string | null, vars: Dict) => table.generate(name, vars),
    url: (environ: Environ, name: string | null, vars: Dict) =>
      url(new port.URLGenerator(table, { ...environ }), name, { ...vars }),
    table: () => table.matchlist.map((route) => [...routeInfo(route) ?? [],
      [(route.conditions as Dict | undefined)?.['method'] ?? []].flat().sort(),
      route.defaults['action'] ?? null]),
    print: () => String(table).split('\n'),
    async request(blank: Blank, options: Dict, urls: [string | null, Dict][]) {
      const seen: Dict = {}
      const app: Application = (environ, startResponse) => {
        seen['match'] = (environ['wsgiorg.routing_args'] as [unknown, Dict])[1]
        seen['route'] = routeInfo(environ['routes.route'] as RouteLike | null)
        for (const key of KEYS) seen[key] = environ[key]
        const generator = environ['routes.url'] as Generator
        seen['urls'] = urls.map(([name, vars]) => url(generator, name, { ...vars }))
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return ['']
      }
      const middleware = new port.RoutesMiddleware(app, table, options)
      const { status, headers } = await call(port, middleware, blank)
      return { ...seen, status, location: headers['location']?.[0] ?? null }
    },
  }
}

// ---------------------------------------------------------------- WebOb

function request(port: Port, blank: Blank): Answers {
  const req = new port.Request(makeEnviron(port, blank))
  const get = (name: string): unknown => (req as unknown as Dict)[name]
  return {
    get,
    async all(where: 'GET' | 'form' | 'params', name: string) {
      if (where === 'GET') return req.GET.getAll(name)
      return (await (where === 'form' ? req.formData() : req.params())).getAll(name)
    },
    async upload(name: string) {
      const file = (await req.formData()).get(name) as File
      return [file.name, file.type, await file.text()]
    },
    accept: (offers: string[]) => req.accept.bestMatch(offers),
    environ: () => Object.fromEntries(Object.entries(req.environ).filter(([key]) =>
      key === 'wsgi.url_scheme' || (/^[A-Z_]+$/.test(key) && key !== 'REQUEST_URI'))),
    place: () => Object.fromEntries(['path', 'pathInfo', 'scriptName', 'url', 'pathUrl',
      'hostUrl', 'applicationUrl', 'method'].map((name) => [name, get(name)])),
    pop: () => [req.pathInfoPop(), req.scriptName, req.pathInfo],
    peek: () => req.pathInfoPeek(),
    from: (where: 'headers' | 'cookies', name: string) => req[where].get(name),
    text: () => req.text(),
    json: () => req.json(),
  }
}

function response(port: Port, [text, options]: [string | null, Dict]): Answers {
  const res = new port.Response(text === null ? options : { body: text, ...options })
  const dict = res as unknown as Dict
  const method = (object: object, name: string): ((...args: unknown[]) => unknown) =>
    (object as Record<string, (...args: unknown[]) => unknown>)[name]!.bind(object)
  return {
    get: (name: string) => dict[name],
    set(name: string, value: unknown) { dict[name] = value },
    call: (name: string, ...args: unknown[]) => { method(res, name)(...args) },
    headers(name: string, ...args: unknown[]) {
      const got = method(res.headers, name)(...args)
      return name.startsWith('get') ? got : null
    },
    state: () => [headerMap(res.headerlist), res.status, res.statusCode, res.contentType,
      res.contentLength],
    text: () => res.text(),
    wire: (blank: Blank) => call(port, res, blank),
  }
}

const BASES = ['HTTPOk', 'HTTPRedirection', 'HTTPError', 'HTTPClientError',
  'HTTPServerError'] as const

function error(port: Port, [name, options]: [string, Dict]): Answers {
  const thrown = new port[name as 'HTTPNotFound'](options)
  return {
    wire: (blank: Blank) => call(port, thrown, blank),
    about: () => [thrown.code, thrown.title, squeeze(thrown.explanation),
      Boolean(thrown.emptyBody), BASES.filter((base) => thrown instanceof port[base])],
  }
}

// ---------------------------------------------------------------- Paste

function urlmap(port: Port, table: [string, string][]): Answers {
  const map = new port.URLMap({}, { notFoundApp: echo('nothing here') })
  for (const [key, label] of table) map.set(key, echo(label))
  return { call: async (blank: Blank) => (await call(port, map, blank)).body }
}

function config(port: Port, files: Conf): Answers {
  const here = mkdtempSync(join(tmpdir(), 'mini-wsgi-'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(here, name)), { recursive: true })
    writeFileSync(join(here, name), text)
  }
  const log: unknown[] = []
  const note = (kind: string, name: string, shared: Conf, local: Conf): string => {
    const text = JSON.stringify([kind, name, shared, local])
    log.push(JSON.parse(text.replaceAll(here, '<HERE>')))
    return local['label'] ?? name
  }
  const wrap = (label: string, inner: Application): Application => (environ, start) => {
    environ['test.trail'] = [...(environ['test.trail'] ?? []) as string[], label]
    return port.callApplication(inner, environ, start)
  }
  const makers: Record<string, (name: string) => unknown> = {
    app: (name) => (shared: Conf, local: Conf) => echo(note('app', name, shared, local)),
    filter: (name) => (shared: Conf, local: Conf): Filter => {
      const label = note('filter', name, shared, local)
      return (app) => wrap(label, app)
    },
    filterapp: (name) => (app: Application, shared: Conf, local: Conf) =>
      wrap(note('filterapp', name, shared, local), app),
    composite: (name) => async (loader: Loading, shared: Conf, local: Conf) => {
      note('composite', name, shared, local)
      const filters: Filter[] = []
      for (const each of local['filters']?.split(' ') ?? []) {
        filters.push(await loader.getFilter(each))
      }
      const app = await loader.getApp(local['app'] ?? '', { globalConf: shared })
      return filters.reduceRight((inner, filter) => filter(inner), app)
    },
  }
  const registry: Dict = { 'egg:Paste#urlmap': port.urlmapFactory,
    'paste.urlmap:urlmap_factory': port.urlmapFactory }
  const texts = Object.values(files).join()
  for (const [spec, kind, rest] of texts.matchAll(/lab:([a-z]+)(_\w+)/g)) {
    registry[spec] = makers[kind!]!(kind! + rest)
  }
  const options = (given: Dict): Parameters<Port['loadApp']>[1] =>
    ({ ...given, relativeTo: here, registry }) as Parameters<Port['loadApp']>[1]
  let loaded: Application = echo('nothing loaded')
  return {
    async load(uri: string, given: Dict) {
      log.length = 0
      loaded = await port.loadApp(uri.replace('<HERE>', here), options(given))
      return log
    },
    async loadFilter(uri: string, given: Dict) {
      log.length = 0
      loaded = (await port.loadFilter(uri, options(given)))(echo('inner'))
      return log
    },
    call: async (blank: Blank) => (await call(port, loaded, blank)).body,
    end: () => rmSync(here, { recursive: true }),
  }
}
interface Loading {
  getApp(name: string, options: { globalConf: Conf }): Promise<Application>
  getFilter(name: string): Promise<Filter>
}

// ---------------------------------------------------------------- oslo.middleware

interface Inner { read?: boolean; echo?: string[]; headers?: HeaderList; body?: string
  status?: number }
const UUID = /req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g

function filter(port: Port, [name, conf, inner]: [string, Conf, Inner]): Answers {
  const app = port.wsgify(async (req: Request) => {
    if (inner.read) return String((await req.bytes()).length)
    if (inner.echo) {
      return Object.fromEntries(inner.echo.map((key) => [key, req.environ[key] ?? null]))
    }
    const { status = 200, headers = [], body = 'ok' } = inner
    const headerlist = structuredClone(headers)
    return new port.Response({ status, headerlist, body: bytes(body) })
  })
  const filtered = port[name as 'CORS'].factory({}, conf)(app)
  return {
    async call(blank: Blank) {
      const answer = JSON.stringify(await call(port, filtered, blank))
      return JSON.parse(answer.replace(UUID, 'req-UUID'))
    },
  }
}

const KINDS: Record<string, (port: Port, given: never) => Answers> =
  { mapper, request, response, error, urlmap, config, filter }
