// Sends generated requests, most of them wrong somewhere, to a server of every layer.
//
//     node fuzz.mjs --count 50000 --seed 1 --seconds 600
//
// A connection carries one to five requests, written at once or in pieces. Of those before
// the first wrong one each must have its answer, in order; the rest must be answered or the
// connection closed (a client that may have left something out closes it itself, when the
// server has been silent for a while; and what was sent after a refusal may reset it). No
// answer may be a 500, the server must live to the end, and, of the requests after as
// many to warm up, the median RSS of the last quarter be within 5 % of the second quarter's.
// What a seed makes is always the same; how requests meet is not.

import { fork } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const BUILD = process.env.MINI_WSGI_JS
  ?? fileURLToPath(new URL('../dist/mini-wsgi.js', import.meta.url))

// The server ────────────────────────────────────────────────────────────────────────────

/** An application that reads each part of a request, behind all filters. */
async function makeApp(folder) {
  const { AccessLog, CORS, HTTPProxyToWSGI, makeServer, Mapper, RequestBodySizeLimiter, RequestId,
    Resource, Response, Router, URLMap, wsgify } = await import(pathToFileURL(BUILD).href)
  const { DirectoryApp } = await import(new URL('examples/static.js', pathToFileURL(BUILD)).href)

  const mapper = new Mapper()
  mapper.resource('server', 'servers', { member: { action: 'POST' }, controller: new Resource({
    index: (req) => ({ q: [...req.GET] }), show: (_, { id }) => ({ id }),
    create: (_, { body }) => ({ body }), update: (_, { id, body }) => ({ id, body }),
    delete: () => null, actions: { 'os-stop': () => null },
  }) })
  const router = new Router(mapper)
  router.get('/{a}-{b}.{c}', (_, params) => ({ ...params }))
  router.get('/files/{path:.*}', (_, { path }) => ({ path, url: router.map.generate(null, { path }) }))
  router.get('/explain/{path:.*}', (_, { path }) => String(router.map.explain(`/${path}`)))
  router.post('/json', async (req) => ({ got: await req.json() }))
  router.post('/form', async (req) => ({ got: [...await req.formData()].map(String) }))
  router.post('/params', async (req) => ({ got: [...await req.params()].map(String) }))
  router.post('/text', (req) => req.text())
  router.post('/part', async (req) => String((await req.environ['wsgi.input'].read(10)).length))
  router.post('/unread', () => 'unread')
  router.get('/cookies', (req) => {
    const res = new Response({ json: Object.fromEntries(req.cookies) })
    for (const [, value] of req.cookies) res.setCookie('copy', value)
    return res
  })
  router.get('/accept', (req) => String(req.accept.bestMatch(['text/html', 'application/json'])))
  router.get('/headers', (req) => ({ all: [...req.headers], url: req.url, at: req.remoteAddr }))
  router.get('/to', (req) => new Response({ status: 302, location: req.GET.get('to') ?? '' }))
  router.get('/stream', () => (async function* () { for (const c of 'stream') yield c })())
  router.mount('/mounted', wsgify((req) => [req.scriptName, req.pathInfo, req.pathInfoPop()]))
  const app = new URLMap({ '/v1': router, '/static': new DirectoryApp(folder) })
  const filters = [[RequestId], [CORS, { allowedOrigin: 'https://ui.test' }],
    [RequestBodySizeLimiter, { maxRequestBodySize: 400_000 }],
    [HTTPProxyToWSGI, { enableProxyHeadersParsing: true }], [AccessLog]]
  const whole = filters.reduce((inner, [Filter, options]) => new Filter(inner, options), app)
  return { makeServer, app: (environ, startResponse) => {
    environ['wsgi.errors'] = { write: (text) => {
      if (/Error/.test(text) && !/client went away/.test(text)) process.send({ error: text.slice(0, 2000) })
    } }
    return whole.__call__(environ, startResponse)
  } }
}

async function serve(folder) {
  const { makeServer, app } = await makeApp(folder)
  const server = await makeServer('127.0.0.1', 0, app, { maxBody: 500_000 })
  process.on('message', () => {
    globalThis.gc()
    process.send({ rss: process.memoryUsage.rss() })
  })
  process.on('disconnect', () => process.exit(0))
  process.on('unhandledRejection', (error) => process.send({ error: `unhandled ${error.stack}` }))
  process.send({ port: server.port })
}

// What is sent ──────────────────────────────────────────────────────────────────────────

/** mulberry32: the same numbers for the same seed. */
function randomFrom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty',
  '__defineGetter__', 'a', 'id', 'action', 'controller', 'path_info', 'os-stop', '_method', '']
const TEXTS = ['%', '%2', '%zz', '%00', '%ff', '%c0%af', '%2e%2e', '%252e', '%2F', '%5c', '..', '.',
  '//', '\\', '-', '--', ';', ':', '@', '*', '+', ' ', '\t', '"', "'", '<', '{', '}', '[', ']', '&',
  '=', ',', '\u00e9', '\u20ac', '%e2%82%ac', '%f0%9f%98%80', '%ed%a0%80', 'x'.repeat(300), '0', '42']
const PATHS = ['GET /v1/servers', 'POST /v1/servers', 'GET /v1/servers/42', 'PUT /v1/servers/42',
  'DELETE /v1/servers/42', 'POST /v1/servers/42/action', 'GET /v1/a-b.c', 'GET /v1/files/a/b',
  'GET /v1/explain/servers/42', 'POST /v1/json', 'POST /v1/json', 'POST /v1/form', 'POST /v1/form',
  'POST /v1/params', 'POST /v1/text', 'POST /v1/part', 'POST /v1/unread', 'GET /v1/cookies',
  'GET /v1/accept', 'GET /v1/headers', 'GET /v1/to', 'GET /v1/stream', 'GET /v1/mounted/a/b',
  'GET /static/a.txt', 'GET /static/docs/', 'GET /static/docs', 'GET /static/.hidden',
  'GET /static/../secret', 'GET /v1', 'GET /']
const HEADERS = ['Accept', 'Accept', 'Range', 'If-Range', 'If-None-Match', 'If-Match',
  'If-Modified-Since', 'Origin', 'Access-Control-Request-Method', 'Forwarded', 'X-Forwarded-For',
  'X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Forwarded-Prefix', 'Content-Encoding', 'Authorization',
  'X-OpenStack-Request-ID', 'X_Forwarded_Host', 'TE', '__proto__', 'Referer']
const VALUES = ['text/html;q=0.5, application/json;q=1.000', '*/*', 'text/*;level=1;q=0', 'bytes=0-1',
  'bytes=-0', 'bytes=9-1,2-', `bytes=${'9'.repeat(30)}-`, '"etag"', 'W/"x", *', 'yesterday',
  'Fri, 02 Jan 2026 03:04:05 GMT', 'https://ui.test', 'null', 'for="[::1]:80";proto=http;host=a',
  'for=1.2.3.4, for=evil', '999.1.1.1', 'a/b', 'evil@host', '/prefix', '//evil', 'gzip', 'identity',
  'deflate, gzip', `req-${'a'.repeat(36)}`, '', ',', ';', '=', 'chunked', '(', '[a-', '.*'.repeat(50)]

function hasRightPath(line) {
  try {
    return !decodeURIComponent(line.replace(/\?.*/, '').replace(/%(?![0-9a-f]{2})/gi, '%25'))
      .includes('\0')
  } catch {
    return false
  }
}

/** Makes requests: { bytes, method, isRight }; a right one must be answered. */
class Maker {
  constructor(seed) { this.random = randomFrom(seed) }

  below(most) { return Math.floor(this.random() * most) }
  chance(part) { return this.random() < part }
  pick(list) { return list[this.below(list.length)] }
  many(most, make) { return Array.from({ length: this.below(most + 1) }, () => make()) }
  garbage(most) {
    return Buffer.from(this.many(most, () => this.below(256))).toString('latin1')
  }
  /** What may stand in a target. */
  text() {
    const encoded = (text) => text.replace(/[^\x21-\x7e]|#/g, encodeURIComponent)
    return this.many(4, () => encoded(this.pick(this.pick([NAMES, TEXTS])))).join('')
  }

  target(usual) {
    const path = usual + (this.chance(0.2) ? this.pick(['', '/']) + this.text() : '')
    const fields = this.many(4, () => `${this.text()}=${this.text()}`)
    if (this.chance(0.02)) fields.push(Array.from({ length: 500 }, (_, at) => `a${at}=1`).join('&'))
    const query = path === '/v1/to' ? `to=${encodeURIComponent(this.location())}` : fields.join('&')
    return (this.chance(0.03) ? 'http://localhost' : '') + path + (query && `?${query}`)
  }
  location() {
    return this.pick(['/', '//', '/\\', '\\\\', 'x:', 'https://a', '..', '\r\nX: y', '?', '#', ''])
      + this.text()
  }

  json() {
    const depth = this.pick([10, 100, 999, 1001, 5000, 100_000])
    const value = () => this.pick([1, -0, 1e308, null, true, '', this.text(), [], {}, '\ud800'])
    const dictionary = () => Object.fromEntries(this.many(8, () => [this.pick(NAMES), value()]))
    const made = this.below(20)
    if (made === 0) return '['.repeat(depth) + ']'.repeat(depth)
    if (made === 1) return '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)
    if (made === 2) return `{${Array.from({ length: 5000 }, (_, at) => `"k${at}":${at}`)}}`
    if (made === 3) return `[${'0,'.repeat(this.below(30_000))}0]`
    if (made === 4) return '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
    if (made === 5) return this.garbage(200)
    if (made === 6) return JSON.stringify(dictionary()).slice(0, -1)
    if (made === 7) return `{"${this.pick(NAMES)}":null}`
    return JSON.stringify(this.chance(0.5) ? dictionary() : this.many(5, dictionary))
  }
  form() {
    if (this.chance(0.02)) return 'a=1&'.repeat(this.pick([900, 1100, 20_000]))
    return this.many(6, () => `${this.text()}=${this.text()}`).join('&')
  }
  multipart(boundary) {
    const part = () => [`--${boundary}`,
      this.chance(0.9) ? `Content-Disposition: form-data; name="${this.pick(NAMES)}"${
        this.chance(0.3) ? `; filename="${this.text()}"` : ''}` : this.garbage(20),
      '', this.chance(0.5) ? this.text() : this.garbage(100)].join('\r\n')
    const parts = this.chance(0.02) ? Array.from({ length: 1100 }, part) : this.many(4, part)
    return [...parts, this.chance(0.9) ? `--${boundary}--` : this.garbage(5), ''].join('\r\n')
  }
  /** [Content-Type, body] */
  body() {
    const boundary = this.pick(['b', '----x', 'a b', '', '"', 'x'.repeat(70)])
    return this.pick([
      () => ['application/json', this.json()],
      () => ['application/x-www-form-urlencoded', this.form()],
      () => [`multipart/form-data; boundary=${boundary}`, this.multipart(boundary)],
      () => [this.pick(['text/plain', 'application/json; charset=utf-16', '/', ';', 'multipart/mixed',
        'multipart/form-data', 'application/xml']), this.garbage(300)],
      () => ['application/octet-stream', 'x'.repeat(this.pick([0, 1, 70_000, 300_000, 450_000]))],
    ])()
  }

  request(isLast) {
    const [usual, path] = this.pick(PATHS).split(' ')
    const method = this.chance(0.9) ? usual
      : this.pick(['HEAD', 'GET', 'POST', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'TRACE'])
    const [type, text] = this.chance(/^P/.test(method) ? 0.95 : 0.1) ? this.body() : ['', '']
    const lines = [`${method} ${this.target(path)} HTTP/1.1`, 'Host: localhost']
    for (const name of this.many(3, () => this.pick(HEADERS))) lines.push(`${name}: ${this.pick(VALUES)}`)
    if (this.chance(0.3)) lines.push(`Cookie: ${this.cookie()}`)
    if (isLast) lines.push('Connection: close')
    const content = Buffer.from(text, 'latin1')
    let body = content
    if (content.length > 0) {
      if (type) lines.push(`Content-Type: ${type.replace(/[^\x20-\x7e]/g, '')}`)
      if (this.chance(0.3)) {
        lines.push('Transfer-Encoding: chunked')
        body = this.chunked(content)
      } else {
        lines.push(`Content-Length: ${content.length}`)
      }
      if (this.chance(0.05)) lines.push('Expect: 100-continue')
    }
    const bytes = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body])
    // What is refused before the application is the last on its connection.
    const isRight = content.length < 390_000 && hasRightPath(lines[0])
      && !lines.includes('Expect: 100-continue')
    return this.chance(0.25) ? this.spoilt(bytes, method) : { bytes, method, isRight }
  }
  cookie() {
    return this.many(4, () => `${this.pick(NAMES)}=${this.pick(['1', '"\\303\\251"', '"', '\\', 'é', ''])}`)
      .join(this.pick(['; ', ';', ',', ' ']))
  }
  chunked(content) {
    const pieces = []
    for (let at = 0; at < content.length;) {
      const size = 1 + this.below(this.chance(0.5) ? 50_000 : content.length)
      const piece = content.subarray(at, at + size)
      pieces.push(Buffer.from(`${piece.length.toString(16)}${this.pick(['', '', ';a=b'])}\r\n`), piece,
        Buffer.from('\r\n'))
      at += size
    }
    return Buffer.concat([...pieces, Buffer.from('0\r\n\r\n')])
  }

  /** Wrong in one place, or perhaps still right: what comes of it is not known. */
  spoilt(bytes, method) {
    const text = bytes.toString('latin1')
    const header = (line) => text.replace('\r\n', `\r\n${line}\r\n`)
    const at = this.below(bytes.length)
    const made = this.pick([
      () => header('Host: other'), () => text.replace('Host: localhost\r\n', ''),
      () => text.replace('localhost', this.pick(['a/b', 'u@h', '[::1', '', 'a b', '\xe9', 'a:999999'])),
      () => text.replace(' HTTP/1.1', this.pick(['', ' HTTP/1.0', ' HTTP/0.9', ' HTTP/2.0', ' HTTP/x'])),
      () => header(`Transfer-Encoding: ${this.pick(['identity', 'gzip, chunked', 'CHUNKED', 'x'])}`),
      () => header(`Content-Length: ${this.pick(['1', '-1', '1x', '99999999999999999999', '600000'])}`),
      () => header(this.garbage(30)), () => header(`X-Long: ${'x'.repeat(this.pick([9000, 70_000]))}`),
      () => header(Array.from({ length: 300 }, (_, index) => `X-${index}: 1`).join('\r\n')),
      () => text.replace(/^\S+/, this.pick(['get', 'G T', '', 'CONNECT', 'PRI', 'X'.repeat(50), '\0'])),
      () => text.replace(/ \S+ /, ` ${this.pick(['*', '', 'x', '/#a', '/\x01', '/\xff', `/${
        'a'.repeat(9000)}`, 'http://', 'http://u@h/', '//x', '/v1/to?to=%0d%0aX:%20y'])} `),
      () => text.slice(0, at) + this.garbage(4) + text.slice(at + this.below(5)),
      () => text.slice(0, at), () => this.garbage(300), () => text.replace('\r\n\r\n', '\n\n'),
    ])()
    return { bytes: Buffer.from(made, 'latin1'), method, isRight: false }
  }

  connection() {
    const length = this.chance(0.5) ? 1 : 1 + this.below(5)
    const requests = Array.from({ length }, (_, at) => this.request(at === length - 1))
    const bytes = Buffer.concat(requests.map((request) => request.bytes))
    const cuts = this.chance(0.3) ? this.many(3, () => this.below(bytes.length)).sort((a, b) => a - b) : []
    const pieces = [0, ...cuts].map((cut, at) => bytes.subarray(cut, cuts[at] ?? bytes.length))
    return { requests, pieces, hangsUp: this.chance(0.02) }
  }
}

// What comes back ───────────────────────────────────────────────────────────────────────

/** Sends a connection's requests; gives what came back until it was closed, if it was. */
function send(port, { requests, pieces, hangsUp }, due) {
  const isRight = due === requests.length
  return new Promise((resolve) => {
    const heard = []
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const late = setTimeout(() => { socket.destroy(); resolve({ text: null }) }, 20_000)
    // A half-closed connection is a closed one to Node: so we wait before we end ours.
    let silence
    let answers = 0
    const wait = () => {
      clearTimeout(silence)
      if (!isRight) silence = setTimeout(() => socket.end(), answers < due ? 5000 : 200)
    }
    let wasReset = false
    socket.on('error', ({ code }) => { wasReset = code !== undefined }).on('end', () => socket.end()).on('data', (piece) => {
      heard.push(piece)
      answers += piece.toString('latin1').match(/HTTP\/1\.1 [2-5]/g)?.length ?? 0
      wait()
    })
    socket.on('close', () => {
      clearTimeout(late)
      clearTimeout(silence)
      resolve({ text: Buffer.concat(heard).toString('latin1'), wasReset })
    })
    const next = (at) => {
      if (at < pieces.length) return socket.write(pieces[at], () => setImmediate(next, at + 1))
      if (hangsUp) return socket.destroy()
      return wait()
    }
    next(0)
  })
}

/** The codes of the answers; of the first ones we know which have a body. */
function codesOf(text, requests) {
  const codes = []
  let rest = text
  while (rest.length > 0) {
    const [head, code] = /^HTTP\/1\.1 (\d{3}) [^]*?\r\n\r\n/.exec(rest) ?? []
    if (!head) return [...codes, `not HTTP: ${JSON.stringify(rest.slice(0, 80))}`]
    if (codes.length >= requests.length) return [...codes, ...rest.match(/(?<=HTTP\/1\.1 )\d{3}/g)]
    rest = rest.slice(head.length)
    if (code === '100') continue
    const method = requests[codes.length]?.method
    codes.push(code)
    if (method === 'HEAD' || code === '204' || code === '304') continue
    if (/\r\nTransfer-Encoding: chunked\r\n/i.test(head)) {
      const end = rest.indexOf('0\r\n\r\n')
      rest = end < 0 ? '' : rest.slice(end + 5)
    } else {
      rest = rest.slice(Number(/\r\nContent-Length: (\d+)\r\n/i.exec(head)?.[1] ?? rest.length))
    }
  }
  return codes
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]
const MB = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`

async function main() {
  const { values } = parseArgs({ options: { count: { type: 'string', default: '50000' },
    seed: { type: 'string', default: '1' }, seconds: { type: 'string', default: '600' },
    clients: { type: 'string', default: '16' } } })
  const [count, seed, seconds] = [values.count, values.seed, values.seconds].map(Number)
  const warm = count // V8 takes its time to find out how much memory it wants
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'))
  mkdirSync(join(folder, 'root/docs'), { recursive: true })
  for (const name of ['secret', 'root/a.txt', 'root/.hidden', 'root/docs/index.html']) {
    writeFileSync(join(folder, name), `file ${name}`)
  }
  // What V8 has not collected yet would hide what grows.
  const child = fork(fileURLToPath(import.meta.url), ['serve', join(folder, 'root')],
    { execArgv: ['--expose-gc', '--min-semi-space-size=16'] })
  const problems = []
  const rss = []
  let isOver = false
  const port = await new Promise((resolve) => {
    child.on('message', (message) => {
      if (message.port) resolve(message.port)
      if (message.rss) rss.push(message.rss)
      if (message.error) problems.push(`logged: ${message.error}`)
    })
    child.on('exit', (code, signal) => { if (!isOver) problems.push(`the server ended: ${signal ?? code}`) })
  })
  const maker = new Maker(seed)
  const codes = {}
  let sent = 0
  let closed = 0
  let sampled = 0
  const started = Date.now()
  const isDone = () => sent >= warm + count || Date.now() - started > seconds * 1000 || problems.length > 20
    || child.exitCode !== null
  await Promise.all(Array.from({ length: Number(values.clients) }, async () => {
    while (!isDone()) {
      const connection = maker.connection()
      const { requests, hangsUp } = connection
      sent += requests.length
      if (sent >= warm + sampled * count / 400) {
        sampled++
        child.send('rss', () => {})
      }
      const wrong = requests.findIndex(({ isRight }) => !isRight)
      const isCut = requests.some(({ bytes }) => bytes.includes('CONNECT')) // by Node, at once
      const due = wrong < 0 ? requests.length : isCut ? 0 : wrong
      const { text, wasReset } = await send(port, connection, due)
      const show = () => JSON.stringify(connection.pieces.map((piece) => piece.toString('latin1').slice(0, Number(process.env.SHOW ?? 400))))
      if (text === null) {
        problems.push(`never closed: ${show()}`)
        continue
      }
      if (hangsUp) {
        closed += requests.length
        continue
      }
      const got = codesOf(text, requests.slice(0, due))
      for (const code of got) codes[code] = (codes[code] ?? 0) + 1
      closed += Math.max(0, requests.length - got.length)
      if (got.length < due && !(wasReset && wrong >= 0)) problems.push(`${got.length} answers to ${due} requests: ${got} ${show()}`)
      if (got.some((code) => !/^[1234]|^50[15]/.test(code))) problems.push(`answered ${got}: ${show()}`)
    }
  }))
  const quarter = rss.length >> 2
  const [second, last] = [median(rss.slice(quarter, 2 * quarter)), median(rss.slice(-quarter))]
  const growth = last / second - 1
  isOver = true
  if (child.connected) child.disconnect()
  rmSync(folder, { recursive: true })
  console.log(`seed ${seed}: ${sent} requests in ${((Date.now() - started) / 1000).toFixed(0)} s`)
  console.log(`answers: ${Object.entries(codes).map(([code, times]) => `${code}: ${times}`).join(', ')}`)
  console.log(`refused by closing, or after a wrong one: ${closed}`)
  console.log(`RSS: ${MB(rss[0])} before, ${MB(rss.at(-1))} after; medians: second quarter ${MB(second)}, `
    + `last quarter ${MB(last)} (${(growth * 100).toFixed(1)} %)`)
  if (growth > 0.05) problems.push('the memory grows')
  if (sent < warm + count) problems.push(`only ${sent} of ${warm + count} requests in ${seconds} s`)
  console.log(`problems: ${problems.length}`)
  for (const problem of problems.slice(0, 5)) console.log(`  ${problem}`)
  process.exitCode = problems.length > 0 ? 1 : 0
}

if (process.argv[2] === 'serve') await serve(process.argv[3])
else await main()
