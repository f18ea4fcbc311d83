// Takes each guard of the file away, one at a time, in a copy, and shows which test fails.
//
//     node guards.mjs                 # all of them, some minutes
//     node guards.mjs 13. Host 9.     # only those whose rule or name begin or end so
//
// The number is the rule's; 'static' and 'workers' stand for guards beside the rules. A text
// that is not found exactly once is an error: then the file has changed, and this has not.

import { spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const NONE = ''
// Suites and tests are chosen by what 'suite: test' matches; tests of workers take long.
const WORKERS = /worker|SIG|two services|terminal|port in use ends/
const LAYERS = { test: (name) => /^([1-8]|1[12])\. /.test(name) && !WORKERS.test(name) }
const PROCESSES = { test: (name) => /^12\. /.test(name) && WORKERS.test(name) }
const STATIC = { file: 'examples/static.ts', tests: /^examples\/static/ }

/** [rule and name, the guard, what stands there instead, where it is not the usual] */
const GUARDS = [
  ['1. HTTP before 1', `  if (!protocol.startsWith('HTTP/1.')) throw new HTTPVersionNotSupported()\n`, NONE],
  ['1. codings before chunked', '/^chunked$/i.test(coding)', '/chunked$/i.test(coding)'],
  ['1. chunked in any case', '/^chunked$/i.test(coding)', '/^chunked$/.test(coding)'],
  ['1. Transfer-Encoding on HTTP/1.0', `protocol === 'HTTP/1.1' && /^chunked`, '/^chunked'],
  ['2. a second Host', 'before === undefined ? value : before + separator + value', 'before ?? value'],
  ['2. a second Host after 1000 headers', '  server.maxHeadersCount = 0', '  //'],
  ['2. no Host', `host === '' || protocol === 'HTTP/1.0'`, 'true'],
  ['2. Host has a valid name', 'host ? HOST.test(host)', 'host ? true'],
  ['2. a target names the host', `if (named !== undefined) environ['HTTP_HOST'] = named`, NONE],
  ['2. a target has a valid host', '(named !== undefined && !HOST.test(named))', 'false'],
  ['3. dictionaries without a prototype', '  made.prototype = Object.create(null) as object\n', NONE],
  ['3. headers with "_"', `key = name.includes('_') ? '' : headerKey(name)`, 'key = headerKey(name)'],
  ['3. actions are own keys', 'Object.hasOwn(actions, name) ? actions[name] : undefined', 'actions[name]'],
  ['3. no method of every object', 'return isOwn && typeof', 'return typeof'],
  ['3. no method with "_"', '/^(_|constructor$)/', '/^(constructor$)/'],
  ['3. no constructor', '/^(_|constructor$)/', '/^(_)/'],
  ['4. strict UTF-8', '    return null\n  }\n}\n\n/** The headers of a response', '    return path\n  }\n}\n\n/** The headers of a response'],
  ['4. NUL in a path', ` && !path.includes('\\0')) return path`, ') return path'],
  ['4. mounts end at a segment', '(path === prefix || path.startsWith(`${prefix}/`))', 'path.startsWith(prefix)'],
  ['5. {a}-{b} is linear', '`[^/][^/${literal}]*`', '`[^/]+`'],
  ['6. depth of JSON', 'if (depth > MOST)', 'if (false)'],
  ['6. fields of a form', 'MOST + 1).length > MOST', 'MOST + 1).length < 0'],
  ['6. Content-Encoding is 415', 'if (coding !== undefined && !/^identity$/i.test(coding))', 'if (false)'],
  ['6. what cannot be read is 400', `        throw unreadable(type, error)\n`, '        throw error\n'],
  ['6. a form that cannot be read is 400', `      throw unreadable(type, error)\n    }))`, '      throw error\n    }))'],
  ['6. a short body is 400', 'if (bytes.length < (length ?? 0))', 'if (false)'],
  ['7. off unless configured', '    if (!this.#isOn) return\n', NONE],
  ['7. the nearest hop', `list.slice(list.lastIndexOf(',') + 1)`, `list.slice(0)`],
  ['7. only http and https', `/^https?$/.test(proto)`, 'proto'],
  ['7. a host that is one', 'if (HOST.test(host)) env', 'if (host) env'],
  ['7. an address that is one', 'if (isAddress(ip))', 'if (ip)'],
  ['7. a prefix that is a path', '/^\\/[^/\\\\]/.test(prefix)', 'prefix'],
  ['8. by length', '  if (Number(environ.CONTENT_LENGTH) > maxBody) throw tooLarge(String(maxBody))\n', NONE],
  ['8. by count', `  if (coding) environ['wsgi.input'] = limited(environ['wsgi.input'], maxBody)\n`, NONE],
  ['8. on Expect', `  server.on('checkContinue', handleAsked)\n`, NONE],
  ['8. 100 after the checks', '    try {\n      checkRequest(', '    if (isAsked) res.writeContinue()\n    try {\n      checkRequest('],
  ['8. only Expect asks for 100', 'i % 2 === 0 && text.length', 'text.length'],
  ['8. the filter, by length', 'return Number(length) > limit && tooLarge', 'return false && tooLarge'],
  ['8. the filter, by count', '    if (length === null) environ', '    if (false) environ'],
  ['8. a counted body is never gathered', 'size < 0 ? left + 1 : Math.min(size, left + 1)', 'size'],
  ['9. an early answer drains', 'if (isEarly) this', 'if (false) this'],
  ['9. a cap of bytes', 'if (socket.bytesRead > most) socket.destroy()', NONE],
  ['9. a cap of time', 'const timer = setTimeout(() => { socket.destroy() }, DRAIN_TIME)\n    this.#req', 'const timer = setTimeout(() => {}, DRAIN_TIME)\n    this.#req'],
  ['9. 413 closes', '(head.code === 413 && !this.#req.complete)', 'false'],
  ['9. what is refused closes', '      res.shouldKeepAlive = false //', '      //'],
  ['10. the status', '  if (!/^[2-9]\\d\\d [\\t\\x20-\\x7e\\x80-\\xff]*$/.test(status)) {', '  if (false) {'],
  ['10. Content-Length is a number', `&& /^\\d+$/.test(value) : !HOP`, ': !HOP'],
  ['10. one Content-Length', `isLength ? head.length < 0 && `, 'isLength ? '],
  ['10. no hop-by-hop headers', ': !HOP_BY_HOP.test(name)\n    if (!ok)', ': true\n    if (!ok)'],
  ['10. a whole body of another length', 'this.#hasBody && length !== head.length', 'false'],
  ['10. a streamed body of another length', 'res.strictContentLength = true', 'void 0'],
  ['10. framing of 204 and 304', 'if (!isLength || isFramed(code)) head', 'if (true) head'],
  ['11. the reason stays in the log', '  logError(error, environ)\n  return new HTTPInternalServerError()', '  logError(error, environ)\n  return new HTTPInternalServerError(String(error))'],
  ['11. CatchErrors answers', 'return answerTo(error, req.environ)', 'throw error'],
  ['10. a Response takes a copy', 'headerlist ? [...headerlist] : []', 'headerlist ?? []'],
  ['10. a Response gives away a copy', 'return [...headers]\n', 'return headers\n'],
  ['10. no control character in Location', '[\\0-\\x1f\\x7f\\u0100-\\uffff]+', '[\\0\\u0100-\\uffff]+'],
  ['10. a prefix in a URL is quoted', `isBare ? '' : quoteUrl(environ.SCRIPT_NAME ?? '')`, `isBare ? '' : (environ.SCRIPT_NAME ?? '')`],
  ['10. excInfo after a chunk', 'this.#hasBegun || this', 'this'],
  ['11. it is logged', '  logError(error, environ)\n  return new', '  return new'],
  ['11. after headers: cut', '{ this.#req.socket.destroy() }\n      return', `{ this.res.end('') }\n      return`],
  ['12. nor one that still drains', 'isRead && !isEarly && this', 'isRead && this'],
  ['12. no answer to a closed socket', 'length === 0 || !socket?.writable', 'length === 0 || !socket'],
  ['11. but not the answers before', 'this.res.socket ? cut() :', 'true ? cut() :'],
  ['11. after headers: logged', '      logError(error, this.environ)\n      const cut', '      const cut'],
  ['12. a pending answer comes first', `    res.once('finish', () => { endWith('', socket) })`, `    socket.end('HTTP/1.1 400 Bad Request\\r\\n\\r\\n')`],
  ['12. also if the broken one is in line', `    res.once('socket', () => { answerClientError(code, socket, res) })`, '    socket.destroy()'],
  ['12. refused once', '    if (refused.has(socket)) return\n', NONE],
  ['8. 100 waits for its turn', 'if (isAsked && res.socket)', 'if (isAsked)'],
  ['12. an answered one gets no second', '    socket.destroy() // it has its answer', '    socket.end("HTTP/1.1 400 Bad Request\\r\\n\\r\\n") // it has its answer'],
  ['12. 431', `  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',\n`, NONE],
  ['12. 413', `  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Request Entity Too Large',\n`, NONE],
  ['12. 408', `  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',\n`, NONE],
  ['12. half closed is not for ever', `const timer = setTimeout(() => { socket.destroy() }, DRAIN_TIME)\n  socket.on`, 'const timer = setTimeout(() => {}, 0)\n  socket.on'],
  ['13. iterators end with the socket', '      for (const exchange of line.watching) exchange.abort()\n', NONE],
  ['13. also if it closed before', '    if (this.#req.socket.destroyed) this.abort()\n', NONE],
  ['14. mini.signal', '    ;(this.#controller ??= new AbortController()).abort()\n', NONE],
  ['15. drain races with close', `    this.res.emit('drain')`, '    //'],
  ['16. HEAD never starts', '        if (this.#head && !this.#hasBody) return', '        if (false) return'],
  ['16. HEAD and 204 have no body', 'return this.#req.method !== \'HEAD\' && isFramed', 'return isFramed'],
  ['16. nothing is chunked to 1.0', `    if (this.#req.httpVersion === '1.0') res.removeHeader('Transfer-Encoding')\n`, NONE],
  ['16. fetch: HEAD and 204', `environ.REQUEST_METHOD !== 'HEAD' && !/^(204|205|304)/.test(status)`, 'true'],
  ['17. late ones are looked for', '    connectionsCheckingInterval: 500,', '    //'],
  ['17. headersTimeout', 'headersTimeout: Math.min(headersTimeout, requestTimeout || Infinity),', 'headersTimeout: 0,'],
  ['17. requestTimeout', '...ssl, requestTimeout, keep', '...ssl, requestTimeout: 0, keep'],
  ['17. keepAliveTimeout', 'requestTimeout, keepAliveTimeout, Incoming', 'requestTimeout, Incoming'],
  ['17. idleTimeout', '      if (moved.get(socket) === bytes) socket.destroy()\n', NONE],
  ['17. maxUrlLen', '  if (url.length > maxUrlLen) throw new HTTPRequestURITooLong()\n', NONE],
  ['18. the last answer closes', '    if (isLast || (', '    if (('],
  ['18. idle connections are closed', '      this.#server.closeIdleConnections()', '      //'],
  ['18. those never used too', 'if (!last && socket.bytesRead === 0) socket.destroy()', NONE],
  ['18. but not at once', '    Server.prototype.close.call(this.#server)', '    this.#server.close()'],
  ['18. the rest is cut', '      for (const [socket] of lines) socket.destroy()\n    }, seconds', '    }, seconds'],
  ['18. pipelined ones are all answered', 'this.#line.host.isStopping && this.#line.last === this', 'this.#line.host.isStopping'],
  ['18. exit when the grace ends', `      if (!areAllAnswered) builtin<NodeProcess>('node:process').exit(0)\n`, NONE, { tests: PROCESSES }],
  ['18. signals are given back', '    await this.#closed\n    off()', '    await this.#closed'],
  ['19. SIGTERM drains', '    if (await this.#service?.server?.shutdown() === false) this.#process.exit(0)\n', '    this.#process.exit(0)\n', { tests: PROCESSES }],
  ['19. workers exit after the grace', 'if (await this.#service?.server?.shutdown() === false) this.#process.exit(0)', 'await this.#service?.server?.shutdown()', { tests: PROCESSES }],
  ['19. a timer keeps no worker', '      setTimeout(() => { this.#process.exit(0) }, 1000).unref()', '      //', { tests: PROCESSES }],
  ['19. a second signal kills', `this.#isStopping ? 'SIGKILL' : 'SIGTERM'`, `'SIGTERM'`, { tests: PROCESSES }],
  ['19. a killed worker is followed', '        void this.#fill(post)\n', NONE, { tests: PROCESSES }],
  ['19. crashes are given up', 'while (post.failures < 5)', 'while (true)', { tests: PROCESSES }],
  ['19. also after it listened', 'isEarly ? Math.min(post.failures + 1, most) : 0', 'since === Infinity ? post.failures + 1 : 0', { tests: PROCESSES }],
  ['19. but not who is killed', '.test(String(signal)) ? 4 : 5', '.test(String(signal)) ? 5 : 5', { tests: PROCESSES }],
  ['19. a failed start ends the worker', '      this.#process.exit(1)', '      //', { tests: PROCESSES }],
  ['19. its connection does not hang', '        if (signal ?? code) passed?.close()', '        //', { tests: PROCESSES }],
  ['19. only connections are noted', `if ((message as { act?: unknown } | null)?.act === 'newconn') passed`, 'if (isObject(handle)) passed', { tests: PROCESSES }],
  ['19. a port in use is fatal', '    if (isPrimary) await (await service.start(new HTTPServiceUnavailable())).shutdown(0)\n', NONE, { tests: PROCESSES }],
  ['19. a port in use is clear', 'Cannot listen on ${host}:${port}', 'Cannot listen'],
  ['19. SIGHUP is answered', 'SIGHUP: () => { this', 'SIGHUP: () => {}, SIGPWR: () => { this', { tests: PROCESSES }],
  ['19. SIGHUP replaces before it ends', `        post.worker?.process.kill('SIGTERM')`, `        post.worker?.process.kill('SIGKILL')`, { tests: PROCESSES }],
  ['19. no start after SIGTERM', '    if (this.#isStopping) return Promise.resolve(true)\n', NONE, { tests: PROCESSES }],
  ['19. a terminal reaches workers too', 'if (isPrimary) this.#stop() }, //', 'this.#stop() }, //', { tests: PROCESSES }],
  ['19. other servers do not count', '        if (at.port !== port) return //', '        //', { tests: PROCESSES }],
  ['19. only its own service', '    if (service.name !== name) return\n', NONE, { tests: PROCESSES }],
  ['20. detached rejections', 'const all = Object.entries({ ...handlers, unhandledRejection })', 'const all = Object.entries(handlers)'],
  ['21. CR, LF and tab', `location.replace(/[\\t\\r\\n]/g, '')`, 'location'],
  ['21. // and backslashes', `    .replace(/^([/\\\\])([/\\\\])/, (both) => both === '//' ? '/%2f' : '/%5c')\n`, NONE],
  ['22. exact match', '[asked, \'*\'].find((one) => this.#origins.includes(one))', 'asked'],
  ['22. Vary: Origin', `      'Vary': [...res.headers.getAll('Vary'), 'Origin'].join(','),\n`, NONE],
  ['22. Vary on a preflight', `    'Vary': 'Origin',\n`, NONE],
  ['22. * without credentials', `origin === '*' ? '' : this.#credentials`, 'this.#credentials'],
  ['22. no method that is not allowed', 'isKnown && listOf(allowMethods).includes(method)', 'isKnown'],
  ['22. no header that is not allowed', 'return isKnown && listOf', 'return listOf'],
  ['3. a cookie is no header of its own', `&& /^[\\x20-\\x3a\\x3c-\\x7e\\x80-\\xff]*$/.test(\`\${path ?? ''}\${domain ?? ''}\`)\n`, '\n'],
  ['static: dots, backslash, NUL', '    if (!names.every((name) => /^[^.\\\\\\0][^\\\\\\0]*$/.test(name))) return new HTTPNotFound()\n', NONE, STATIC],
  ['static: names with a dot', '/^[^.\\\\\\0][^\\\\\\0]*$/', '/^[^\\\\\\0][^\\\\\\0]*$/', STATIC],
  ['static: backslash', '/^[^.\\\\\\0][^\\\\\\0]*$/', '/^[^.\\0][^\\0]*$/', STATIC],
  ['static: NUL', '/^[^.\\\\\\0][^\\\\\\0]*$/', '/^[^.\\\\][^\\\\]*$/', STATIC],
  ['static: links out of the root', 'stats.isFile() && isBelow(root, found)', 'stats.isFile()', STATIC],
  ['static: links to hidden files', 'way.split(sep).every((name) => /^[^.]/.test(name))', `!way.startsWith('..')`, STATIC],
  ['static: only files', '    if (!stats.isFile()) throw new HTTPNotFound()\n', NONE, STATIC],
  ['static: a pipe does not wait', ' | (constants.O_NONBLOCK ?? 0)', NONE, STATIC],
  ['static: a file is no folder', '    } else if (hasSlash) {\n', '    } else if (false) {\n', STATIC],
  ['static: 404 tells nothing', '  if (/^(ENOENT|ENOTDIR|ELOOP|ENAMETOOLONG|ENXIO)$/.test(String(code))) {', '  if (false) {', STATIC],
  ['static: files are closed', '  close(): Promise<void> { return this.#file.close() }\n', NONE, STATIC],
  ['static: and without a body', '      await file?.close()\n', NONE, STATIC],
  ['static: only GET and HEAD', `    if (req.method !== 'GET' && req.method !== 'HEAD') {`, '    if (false) {', STATIC],
]

const root = fileURLToPath(new URL('..', import.meta.url))

/** A copy in which tests can be chosen, and the first that fails ends the run. */
function makeCopy() {
  const copy = mkdtempSync(join(tmpdir(), 'guards-'))
  for (const name of ['examples', 'conformance', '.ci', 'mini-wsgi.ts', 'mini-wsgi.test.ts',
    'package.json', 'tsconfig.json', 'README.md']) {
    cpSync(join(root, name), join(copy, name), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  edit(join(copy, 'mini-wsgi.test.ts'), [
    ['    made(name, async () => {\n', '    if (chosen(`${title}: ${name}`)) made(name, async () => {\n'],
    ['await Promise.race([run(), hanging()])',
      'await Promise.race([(async () => run())(), hanging()]).catch(failed)'],
    ['  console.log(`${passed} passed', '  if (failed > 0) console.error(`FAILED ${tally.running} (it never ends)`)\n'
      + '  console.log(`${passed} passed'],
    ['// 0. Helpers ─', `const { chosen } = await import(process.env['CHOSEN'] ?? '') as {
      chosen(name: string): boolean }
    const failed = (error: unknown): never => {
      console.error(\`FAILED \${tally.running} \${String(error).slice(0, 200)}\`)
      process.exit(1)
    }\n// 0. Helpers ─`],
  ])
  build(copy)
  return copy
}

function edit(file, changes) {
  let text = readFileSync(file, 'utf8')
  for (const [from, to] of changes) {
    if (text.split(from).length !== 2) {
      throw new Error(`${JSON.stringify(from)} is ${text.split(from).length - 1} times in ${
        file}, not once; mend the list in bench/guards.mjs`)
    }
    text = text.replace(from, () => to)
  }
  writeFileSync(file, text)
}

function build(copy) {
  const { status, stdout } = spawnSync(process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', copy, '--noCheck'],
    { encoding: 'utf8' })
  if (status !== 0) throw new Error(`tsc: ${stdout}`)
}

/** The first test that fails; '' if none does. */
function firstFailure(copy, tests) {
  const source = tests instanceof RegExp ? `(name) => ${tests}.test(name)`
    : String(tests.test).replace('WORKERS', String(WORKERS))
  const chosen = `data:text/javascript,export const chosen = ${encodeURIComponent(source)}`
  const child = spawn(process.execPath, [join(copy, 'dist/mini-wsgi.test.js')],
    { env: { ...process.env, CHOSEN: chosen }, detached: true })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => { text += piece })
  const killAll = () => { // with what the test had started
    try { process.kill(-child.pid, 'SIGKILL') } catch {}
  }
  return new Promise((resolve) => {
    const late = setTimeout(killAll, 60_000)
    child.on('exit', killAll).on('close', () => {
      clearTimeout(late)
      const [, name] = /FAILED (.*)/.exec(text) ?? []
      const [, passed = 0] = /(\d+) passed, 0 failed/.exec(text) ?? []
      resolve(name ?? (Number(passed) > 0 ? '' : `(${text.trim().split('\n').at(-1)})`))
    })
  })
}

/** Takes one guard away, and brings it back. */
async function tryWithout(copy, [name, from, to, { file = 'mini-wsgi.ts', tests = LAYERS } = {}]) {
  const path = join(copy, file)
  const whole = readFileSync(path, 'utf8')
  try {
    edit(path, [[from, to]])
    build(copy)
    return await firstFailure(copy, tests)
  } catch (error) {
    return error.message.startsWith('tsc') ? error.message : `ERROR ${error.message}`
  } finally {
    writeFileSync(path, whole)
  }
}

const wanted = process.argv.slice(2)
const chosen = GUARDS.filter(([name]) => wanted.length === 0 || wanted.some((one) => name.startsWith(one) || name.endsWith(one)))
const copies = [makeCopy(), makeCopy()]
const missing = []
try {
  for (const tests of new Set(chosen.map(([, , , { tests = LAYERS } = {}]) => tests))) {
    const failure = await firstFailure(copies[0], tests)
    if (failure) throw new Error(`With all guards this fails already: ${failure}`)
  }
  console.log('| rule and guard | the test that fails without it |\n|---|---|')
  const queue = chosen.slice()
  await Promise.all(copies.map(async (copy) => {
    for (let guard = queue.shift(); guard; guard = queue.shift()) {
      const failure = await tryWithout(copy, guard)
      if (failure === '' || failure.startsWith('ERROR')) missing.push(guard[0])
      console.log(`| ${guard[0]} | ${failure.replaceAll('|', '\\|') || 'NONE'} |`)
    }
  }))
} finally {
  for (const copy of copies) rmSync(copy, { recursive: true })
}
console.log(`${chosen.length} guards; without a test: ${missing.length}`)
for (const name of missing) console.log(`  ${name}`)
process.exitCode = missing.length > 0 ? 1 : 0
