// What HTTP costs: CPU time per request of raw node:http divided by that of each server.
//   node http.mjs [--quick] [--load] [--cold] [--memory] [--slow] [--mount]
// Without a mode all of them run, in about 8 minutes; --quick takes one and leaves out
// the slower peers. The server is pinned to core 0, the load (wrk) to core 1.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const options = process.argv.slice(2)
const quick = options.includes('--quick')
const names = quick ? ['raw', 'ours', 'fastify']
  : ['raw', 'ours', 'fastify', 'hono', 'polka', 'h3', 'koa', 'express']
const modes = options.filter((option) => option !== '--quick')
const wants = (mode) => modes.length === 0 || modes.includes(mode)
const MiB = 1024 * 1024

const browserHeaders = {
  'sec-ch-ua': '"Chromium";v="128", "Not;A=Brand";v="24", "Google Chrome";v="128"',
  'sec-ch-ua-mobile': '?0',
  'sec-ch-ua-platform': '"Linux"',
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)'
    + ' Chrome/128.0.0.0 Safari/537.36',
  Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8',
  'Sec-Fetch-Site': 'same-origin',
  'Sec-Fetch-Mode': 'navigate',
  'Sec-Fetch-Dest': 'document',
  Referer: 'http://127.0.0.1/servers?detail=1',
  'Accept-Encoding': 'gzip, deflate, br, zstd',
  'Accept-Language': 'en-US,en;q=0.9,de;q=0.8',
  Cookie: 'sid=7f3e1a90c2d84b56; theme=dark',
}

const text = /^text\/(plain|html)/
const json = /^application\/json/
const document = '{"server":{"name":"web-1","flavorRef":"2","tags":["a","b"],"count":1}}'
const lines = Array.from({ length: 10 }, (_, i) =>
  `chunk ${i} of a body that is sent in ten pieces\n`)

const requests = [
  { name: 'hello', path: '/hello', type: text, answer: 'hello' },
  { name: 'users', path: '/users/0', type: json, answer: '{"id":"0"}' },
  { name: 'echo', method: 'POST', path: '/echo', body: document,
    headers: { 'Content-Type': 'application/json' }, type: json, answer: document },
  { name: 'stream', path: '/stream', type: text, answer: lines.join('') },
]
const cases = [
  ...requests,
  ...requests.map((request) => ({ ...request, name: `${request.name} +12 headers`,
    headers: { ...request.headers, ...browserHeaders } })),
]

const children = new Set()

// Starts a program on one core. Nothing outlives this process: see the end of the file.
function start(core, command, stdio) {
  const env = { ...process.env, NODE_ENV: 'production' }
  const child = spawn('taskset', ['-c', String(core), ...command], { stdio, env })
  children.add(child)
  child.on('exit', (code) => {
    children.delete(child)
    if (code) throw new Error(`"${command.join(' ')}" ended with ${code}`)
  })
  return child
}

const beside = (file) => fileURLToPath(new URL(file, import.meta.url))

const program = (name, ...flags) =>
  [process.execPath, ...flags, beside('http-server.mjs'), name]

async function startServer(name, ...flags) {
  const child = start(0, program(name, ...flags), ['ignore', 'inherit', 'inherit', 'ipc'])
  const [port] = await once(child, 'message')
  return { name, child, port }
}

async function used({ child }) {
  child.send('used')
  const [usage] = await once(child, 'message')
  return usage
}

function ask(port, { method = 'GET', path, headers, body }) {
  return new Promise((resolve, reject) => {
    const options = { port, method, path, headers, agent: false }
    const req = http.request(options, async (res) => {
      let answer = ''
      for await (const chunk of res.setEncoding('utf8')) answer += chunk
      resolve({ status: res.statusCode, headers: res.headers, answer })
    })
    req.on('error', reject).end(body)
  })
}

async function check({ name, port }, expected, prefix = '') {
  const { status, headers, answer } = await ask(port,
    { ...expected, path: prefix + expected.path })
  const framed = headers['content-length'] === String(answer.length)
    || headers['transfer-encoding'] === 'chunked'
  const right = status === 200 && expected.type.test(headers['content-type'])
    && framed && answer === expected.answer
  if (!right) {
    const got = JSON.stringify({ status, headers, answer })
    throw new Error(`${name} answers ${expected.name} with ${got}`)
  }
}

// Lets wrk ask for so many milliseconds; resolves with the number of answers. While wrk
// starts it ignores the signal that ends it, so that is repeated.
async function load(port, { method = 'GET', path, headers = {}, body }, milliseconds) {
  const fields = Object.entries(headers).flatMap((field) => ['-H', field.join(': ')])
  const wrk = start(1, ['wrk', '-t1', '-c32', '-d9', '-s', beside('http.lua'), ...fields,
    `http://127.0.0.1:${port}${path}`, '--', method, ...body ? [body] : []],
  ['ignore', 'pipe', 'inherit'])
  const stop = setInterval(() => wrk.kill('SIGINT'), milliseconds)
  let report = ''
  wrk.stdout.on('data', (chunk) => { report += chunk })
  await once(wrk, 'close')
  clearInterval(stop)
  const [, answers] = report.match(/(\d+) requests in/) ?? []
  if (!answers || /Non-2xx|Socket errors/.test(report)) throw new Error(`wrk: ${report}`)
  return Number(answers)
}

function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return low + (high - low) * (at % 1)
}

const median = (values) => quantile(values, 0.5)

function printTable(rows) {
  const widths = rows[0].map((_, column) =>
    Math.max(...rows.map((row) => String(row[column]).length)))
  const pad = (cell, i) =>
    i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i])
  console.log(`\n${rows.map((row) => row.map(pad).join('  ')).join('\n')}`)
}

const verdicts = [['what', 'target', 'measured', 'quartiles', '']]

function verdict(what, values, compare, target, unit = '') {
  const show = (value) => value.toFixed(2) + unit
  const measured = median(values)
  const passed = compare === '>=' ? measured >= target : measured <= target
  const quartiles = values.length > 1
    ? `${show(quantile(values, 0.25))}..${show(quantile(values, 0.75))}` : ''
  verdicts.push([what, `${compare} ${show(target)}`, show(measured), quartiles,
    passed ? 'pass' : 'FAIL'])
  if (!passed) process.exitCode = 1
}

// Every round visits every case, and within a case one server after the other, so that a
// slow moment of the machine meets them all. The first two rounds only warm up.
async function measureLoad() {
  const [rounds, slice] = quick ? [5, 200] : [11, 450]
  const servers = await Promise.all(names.map((name) => startServer(name)))
  for (const server of servers) for (const each of cases) await check(server, each)
  const costs = cases.map(() => names.map(() => []))
  for (let round = -2; round < rounds; round++) {
    for (const [i, each] of cases.entries()) {
      for (const [j, server] of servers.entries()) {
        const before = await used(server)
        const answers = await load(server.port, each, slice)
        const cost = ((await used(server)).cpu - before.cpu) / answers
        if (round >= 0) costs[i][j].push(cost)
      }
    }
  }
  for (const { child } of servers) child.kill()
  reportLoad(costs)
}

function reportLoad(costs) {
  const ratios = costs.map((row) =>
    row.map((own) => own.map((cost, round) => row[0][round] / cost)))
  const show = (title, figures, digits) => printTable([[title, ...names],
    ...figures.map((row, i) =>
      [cases[i].name, ...row.map((values) => median(values).toFixed(digits))])])
  show('CPU microseconds a request', costs, 1)
  show('raw / own: 1 = as cheap as raw', ratios, 2)
  const targets = { hello: 0.95, users: 0.95, echo: 0.95, stream: 1.4 }
  for (const [i, { name }] of cases.entries()) {
    const [request, headers] = name.split(' ')
    if (headers && request === 'stream') continue
    verdict(`HTTP ${name}`, ratios[i][1], '>=', headers ? 0.90 : targets[request])
  }
}

// From the start of the process to its first answer.
async function coldStart(name) {
  const before = performance.now()
  const child = start(0, program(name), ['ignore', 'pipe', 'inherit'])
  const [port] = await once(child.stdout, 'data')
  const { status } = await ask(Number(port), requests[0])
  const time = performance.now() - before
  child.kill()
  await once(child, 'exit')
  if (status !== 200) throw new Error(`${name} answers ${status}`)
  return time
}

async function measureCold() {
  const times = names.map(() => [])
  for (let round = 0; round < (quick ? 5 : 15); round++) {
    for (const [i, name] of names.entries()) times[i].push(await coldStart(name))
  }
  printTable([['cold start, milliseconds', ...names],
    ['to the first answer', ...times.map((own) => median(own).toFixed(1))]])
  verdict('cold start / raw', times[1].map((time, i) => time / times[0][i]), '<=', 1.1)
}

// Least squares: what one more x adds to y.
function slope(points) {
  const mean = (i) => points.reduce((sum, point) => sum + point[i], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const sum = (f) => points.reduce((total, point) => total + f(point), 0)
  return sum((p) => (p[0] - x) * (p[1] - y)) / sum((p) => (p[0] - x) ** 2)
}

// The heap after a full collection, as requests go by. A leak of one object a request
// would be 16 bytes or more.
async function measureMemory() {
  const total = 200_000
  const server = await startServer('ours', '--expose-gc')
  const points = []
  const rows = [['ours, requests', 'heap MiB', 'RSS MiB']]
  let served = 0
  while (served < total) {
    for (const each of cases) served += await load(server.port, each, 150)
    await sleep(50)
    const { heapUsed, rss } = await used(server)
    points.push([served, heapUsed])
    rows.push([served, (heapUsed / MiB).toFixed(2), (rss / MiB).toFixed(1)])
  }
  server.child.kill()
  printTable(rows)
  verdict('heap growth a request', [slope(points.slice(1))], '<=', 4, ' B')
}

// Reads nothing for a second, then all of it with a pause after each MiB.
async function readSlowly(port, path) {
  const socket = net.connect(port, '127.0.0.1')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  await sleep(1000)
  let read = 0
  let pauses = 0
  for await (const chunk of socket) {
    read += chunk.length
    if (read > (pauses + 1) * MiB) {
      pauses++
      await sleep(quick ? 1 : 5)
    }
  }
  return read
}

async function measureSlow() {
  for (const path of ['/gibibyte', '/slow-gibibyte']) {
    const server = await startServer('ours')
    const read = await readSlowly(server.port, path)
    const { peak } = await used(server)
    server.child.kill()
    if (read < 1024 * MiB) {
      throw new Error(`${path}: only ${read} bytes came, peak memory ${peak}`)
    }
    verdict(`peak memory, 1 GiB of ${path}`, [peak / MiB], '<=', 150, ' MiB')
  }
}

async function checkMount() {
  for (const name of ['ours in express', 'ours in connect']) {
    const server = await startServer(name)
    for (const each of cases) await check(server, each, '/mounted')
    server.child.kill()
    console.log(`\n${name}: every answer is right`)
  }
}

process.on('exit', () => { for (const child of children) child.kill('SIGKILL') })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))
setTimeout(() => {
  console.error('not done after 10 minutes')
  process.exit(1)
}, 600_000).unref()

if (wants('--mount')) await checkMount()
if (wants('--cold')) await measureCold()
if (wants('--memory')) await measureMemory()
if (wants('--slow')) await measureSlow()
if (wants('--load')) await measureLoad()
if (verdicts.length > 1) printTable(verdicts)
