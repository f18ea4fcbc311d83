// Time grows linearly with the length of the path, whatever the path is made of.
// Every row is a table of routes and a hostile way to fill a path; the exponent is the
// slope of time over length, both logarithmic: 1 is linear, 2 quadratic.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

const built = new URL('../dist/mini-wsgi.js', import.meta.url)
const { Mapper } = await import(process.env.MINI_WSGI_JS ?? built)

const sizes = [1, 2, 4, 8, 16, 32, 64].map((kilobytes) => kilobytes * 1024)
const linear = 1.5 // the largest exponent that passes
const slow = 50 // ms for one look-up, after which no longer path is tried
const patience = 2500 // ms for all the paths of a table

const controller = {}

function connected(...templates) {
  const mapper = new Mapper()
  for (const template of templates) mapper.connect(template, { controller })
  return mapper
}

function resources() {
  const parentResource = { memberName: 'server', collectionName: 'servers' }
  const mapper = new Mapper()
  mapper.resource('server', 'servers', { controller })
  mapper.resource('tag', 'tags', { controller, parentResource })
  return mapper
}

const tables = {
  '/{a}-{b}-{c}': connected,
  '/{a}-{b}-{c}/end': connected,
  '/{a}.{b}': connected,
  '/{a}.{b}/end': connected,
  '/{rest:.*}/end': connected,
  '/{id}.{format}': connected,
  '/{id}{.format}': connected,
  '/{id}{.format}/end': connected,
  '/{x:.*}/middle/{y:.*}/end': connected,
  'resource()': resources,
  'mixed': () => connected(
    '/{a}-{b}/{c}.{d}/{rest:.*}/end', '/{a}-{b}-{c}/{d}{.format}', '/{a}.{b}/{c}-{d}.{e}',
    '/{x:.*}/middle/{y}', '/{a}/{b}/{c}/{d}/{e}/end', '/{a}-{b}-{c}-{d}-{e}',
  ),
}

// A path is a head, a unit repeated, and a tail that makes the match fail late.
const paths = {
  'dashes': ['/', '-', '/x'],
  'a dash each two': ['/', 'a-', '/x'],
  'dots': ['/', '.', '/x'],
  'a dot each two': ['/', 'a.', '/'],
  'dashes and dots': ['/', '-a.', '/x'],
  'slashes': ['', '/', 'x'],
  'a slash each two': ['', '/a', '/'],
  'ends': ['', '/end', 'x'],
  'middles': ['', '/middle', '/x'],
  'middles and ends': ['', '/middle/end', 'x'],
  'letters': ['/', 'a', '/x'],
  'one segment': ['/', '-', ''],
  'a dash at the end': ['/', 'a', '-'],
  'a dot at the end': ['/', 'a', '.'],
  'dots in /servers': ['/servers/', 'a.', '/x'],
  'dots in /tags': ['/servers/1/tags/', '.', '/x'],
}

function pathOf([head, unit, tail], size) {
  const bytes = Buffer.from(head + unit.repeat(size / unit.length) + tail, 'latin1')
  return bytes.latin1Slice()
}

// Milliseconds for one look-up: the best of a few, unless it is slow anyway.
function timeOf(mapper, path) {
  let best = Infinity
  for (let total = 0, n = 0; total < 2 || n < 5; n++) {
    const before = performance.now()
    mapper.match(path)
    const time = performance.now() - before
    best = Math.min(best, time)
    total += time
    if (time > slow / 8) break
  }
  return best
}

// Runs in a thread of its own, so that a look-up without end can be ended.
function measure(table) {
  const mapper = tables[table](table)
  mapper.match('/') // compiles the routes
  for (const path in paths) {
    for (const size of sizes) {
      const time = timeOf(mapper, pathOf(paths[path], size))
      parentPort.postMessage({ path, time })
      if (time > slow) break
    }
  }
}

async function timesOf(table) {
  const times = Object.fromEntries(Object.keys(paths).map((path) => [path, []]))
  const worker = new Worker(new URL(import.meta.url), { workerData: table })
  worker.on('message', ({ path, time }) => times[path].push(time))
  const timer = setTimeout(() => worker.terminate(), patience)
  await once(worker, 'exit')
  clearTimeout(timer)
  return times
}

// The slope of a straight line through the logarithms of the last four.
function exponentOf(times) {
  const points = times.slice(-4).map((time, i) => [i, Math.log2(time)])
  const total = (f) => points.reduce((sum, point) => sum + f(point), 0)
  const [x, y] = [0, 1].map((k) => total((point) => point[k]) / points.length)
  return total(([px, py]) => (px - x) * (py - y)) / total(([px]) => (px - x) ** 2)
}

function line(table, path, cells) {
  const numbers = cells.map((cell) => cell.padStart(10)).join('')
  return table.padEnd(28) + path.padEnd(18) + numbers
}

function rowOf(table, path, times) {
  const cells = sizes.map((_, i) => times[i] === undefined ? '-' : micro(times[i]))
  const exponent = times.length < 2 ? '-' : exponentOf(times).toFixed(2)
  return line(table, path, [...cells, exponent])
}

function micro(milliseconds) {
  return (milliseconds * 1000).toFixed(1)
}

function passes(times) {
  return times.length === sizes.length && exponentOf(times) <= linear
}

// Of each table the path that takes the longest, or all the paths that fail.
async function main() {
  const headings = sizes.map((size) => `${size / 1024} KB`)
  console.log('microseconds for one look-up')
  console.log(line('table', 'path of', [...headings, 'exponent']))
  let failures = 0
  for (const table in tables) {
    const rows = Object.entries(await timesOf(table))
      .sort(([, a], [, b]) => b.at(-1) - a.at(-1))
    const failed = rows.filter(([, times]) => !passes(times))
    failures += failed.length
    for (const [path, times] of failed.length > 0 ? failed : rows.slice(0, 1)) {
      console.log(rowOf(table, path, times))
    }
  }
  console.log(failures === 0 ? 'linear everywhere' : `${failures} not linear`)
  process.exitCode = failures === 0 ? 0 : 1
}

if (isMainThread) await main()
else measure(workerData)
