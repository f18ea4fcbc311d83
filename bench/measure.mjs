// Measures every router on one table and sends the figures to router.mjs, which runs this
// file in a process of its own for each table: no table meets code warmed up by another.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { peers } from './peers.mjs'
import { requestsOf, tables } from './tables.mjs'

const table = tables[process.argv[2]]
const quick = process.argv.includes('--quick')
const rounds = quick ? 9 : 41
const [warmTime, batchTime, buildTime, pythonTime] = // milliseconds
  quick ? [50, 0.5, 30, 150] : [200, 2, 1000, 1500]

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const methods = [...new Set(table.routes.map(({ method }) => method))]
const environs = Object.fromEntries(methods.map((m) => [m, { REQUEST_METHOD: m }]))
const headOf = ({ method }) => ({ method, environ: environs[method] })

// The peer with the routes in its own spelling, or with the reason why it has none.
function contestant(peer) {
  try {
    const routes = table.routes.map(({ method, template, handler }) =>
      ({ method, path: peer.spell(template), handler }))
    return { ...peer, routes, find: build(peer, routes) }
  } catch (error) {
    return { name: peer.name, refuses: error.message }
  }
}

// Building ends with a look-up per method: some routers compile at the first one.
function build(peer, routes) {
  const find = peer.build(routes)
  for (const method of methods) find('/none/of/them', headOf({ method }))
  return find
}

function checked(peer, requests) {
  const wrong = peer.find && requests.find((request) => !answers(peer, request))
  return wrong ? { name: peer.name, wrong: `${wrong.method} ${wrong.path}` } : peer
}

function answers({ find, read }, request) {
  const [handler, params] = read(find(request.path, headOf(request)), request) ?? []
  return handler === request.handler && isDeepStrictEqual({ ...params }, request.params)
}

// The paths of a list as bytes in one buffer, as a socket gives them.
function packed(requests) {
  const ends = new Uint32Array(requests.length + 1)
  requests.forEach(({ path }, i) => { ends[i + 1] = ends[i] + path.length })
  const bytes = Buffer.from(requests.map(({ path }) => path).join(''), 'latin1')
  return { bytes, ends, heads: requests.map(headOf) }
}

let kept // the last answer, so that no look-up can be optimised away

// Milliseconds for `count` look-ups from number `start` on, each of a new string.
function timed(find, { bytes, ends, heads }, start, count) {
  let i = start % heads.length
  const before = performance.now()
  for (let n = 0; n < count; n++) {
    kept = find(bytes.latin1Slice(ends[i], ends[i + 1]), heads[i])
    if (++i === heads.length) i = 0
  }
  return performance.now() - before
}

// How many look-ups take `time`; finding it out warms the code up.
function countFor(time, find, list) {
  let count = 32
  let taken = 0
  while (taken < time) {
    count *= 2
    taken = timed(find, list, 0, count)
  }
  return Math.ceil(count * time / taken)
}

// Nanoseconds per look-up for each of `finds`, less what it takes to make the string.
function race(finds, list) {
  const all = [(path) => path, ...finds]
  const counts = all.map((find) => countFor(batchTime, find, list))
  const samples = all.map(() => [])
  globalThis.gc()
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < all.length; turn++) {
      const i = (turn + round) % all.length
      const start = round * counts[i]
      timed(all[i], list, start, counts[i]) // fills the caches that the others emptied
      samples[i].push(timed(all[i], list, start, counts[i]) / counts[i])
    }
  }
  const [string, ...times] = samples.map((sample) => median(sample) * 1e6)
  return times.map((time) => time - string)
}

// Milliseconds to build, interleaved; who is slow gets fewer rounds.
function buildTimes(able) {
  const samples = able.map(() => [])
  const spent = able.map(() => 0)
  for (let round = 0; round < rounds; round++) {
    able.forEach((peer, i) => {
      if (spent[i] > buildTime) return
      globalThis.gc({ type: 'minor' })
      const before = performance.now()
      kept = build(peer, peer.routes)
      samples[i].push(performance.now() - before)
      spent[i] += samples[i].at(-1)
    })
  }
  return samples.map(median)
}

// A small table is built many times over, to stand out from the noise.
function bytesPerRoute(peer) {
  const copies = new Array(Math.ceil(10000 / peer.routes.length)).fill(null)
  const before = memory()
  copies.forEach((_, i) => { copies[i] = build(peer, peer.routes) })
  return (memory() - before) / copies.length / peer.routes.length
}

function memory() {
  kept = null
  for (let i = 0; i < 3; i++) globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

function pythonRoutes(requests) {
  const python = '/usr/bin/python3'
  if (spawnSync(python, ['-c', 'import routes']).status !== 0) return []
  const script = fileURLToPath(new URL('python_routes.py', import.meta.url))
  const job = { routes: table.routes, requests, seconds: pythonTime / 1000 }
  return [JSON.parse(spawnSync(python, [script], { input: JSON.stringify(job) }).stdout)]
}

const lists = requestsOf(table)
const field = peers.map((peer) => checked(contestant(peer), Object.values(lists).flat()))
const able = field.filter(({ find }) => find)
const finds = able.map(({ find }) => find)
const packs = Object.entries(lists).map(([kind, requests]) => [kind, packed(requests)])

const builds = buildTimes(able)
const bytes = able.map(bytesPerRoute)
for (const find of finds) {
  for (const kind of ['mix', 'miss']) countFor(warmTime, find, packed(lists[kind]))
}
const races = packs.map(([kind, list]) => [kind, race(finds, list)])

able.forEach((peer, i) => Object.assign(peer, {
  build: builds[i],
  bytes: bytes[i],
  ns: Object.fromEntries(races.map(([kind, times]) => [kind, times[i]])),
}))
const figures = ({ name, refuses, wrong, generatesCode, build, bytes, ns }) =>
  ({ name, refuses, wrong, generatesCode, build: ns && build, bytes, ns })
process.send([...field.map(figures), ...pythonRoutes(lists.mix)])
