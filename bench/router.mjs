// Our Mapper beside the other routers, table by table; what and how: README.md.
//   node router.mjs [--quick] [part of a table's name]...
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { tables } from './tables.mjs'

const options = process.argv.slice(2).filter((arg) => arg.startsWith('--'))
const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('--'))
const chosen = ({ name }) => wanted.length === 0 || wanted.some((w) => name.includes(w))

const results = []
for (const [i, table] of tables.entries()) {
  if (!chosen(table)) continue
  const measure = new URL('measure.mjs', import.meta.url)
  const child = fork(measure, [i, ...options], { execArgv: ['--expose-gc'] })
  child.on('message', (field) => {
    results.push({ name: table.name, size: table.routes.length, field })
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`Measuring "${table.name}" ended with ${code}.`)
  print(results.at(-1))
}
printTargets(results)
process.exitCode = results.every(({ field }) => field[0].ns) ? 0 : 1

function print({ name, field }) {
  const [our, ...others] = field
  const kinds = Object.keys(field.find(({ bytes }) => bytes).ns)
  const fastest = Math.min(...others.map(mixOf))
  const over = (time, base) => base < Infinity ? (time / base).toFixed(2) : '-'
  console.log(`\n${name}: nanoseconds per look-up`)
  console.log(line(['', 'x ours', 'x fastest', ...kinds, 'build ms', 'B/route']))
  for (const peer of field.toSorted((a, b) => mixOf(a) - mixOf(b))) {
    const { name, refuses, wrong, ns, build, bytes } = peer
    if (refuses) console.log(line([name, `refuses: ${refuses}`]))
    else if (wrong) console.log(line([name, `wrong answer to ${wrong}`]))
    else console.log(line([name, over(ns.mix, mixOf(our)), over(ns.mix, fastest),
      ...kinds.map((kind) => whole(ns[kind])), build.toFixed(2), whole(bytes)]))
  }
}

function mixOf({ ns }) {
  return ns?.mix ?? Infinity
}

function whole(number) {
  return number === undefined ? '-' : String(Math.round(number))
}

function line([name, ...cells]) {
  if (cells.length === 1) return name.padEnd(20) + cells[0].slice(0, 80)
  return name.padEnd(18) + cells.map((cell) => cell.padStart(10)).join('')
}

// The router rows of PERFORMANCE.md. A measure is a list of [value, where]; the worst
// of them counts.
function printTargets(results) {
  const rows = [
    ['mix, against the fastest without generated code', 1, 0.85, mixRatios],
    ['Nova with project id, against find-my-way', 0.5, 0.4, projectRatios],
    ['a static path, ns', 40, 30, staticTimes],
    ['last of 10 000 routes / last of 10', 1.5, 1.25, lastRatio],
    ['any kind of request, against the fastest', 1.4, 1.2, kindRatios],
    ['build 200 routes, against memoirist', 1.5, 1, buildRatios(200, 210)],
    ['build 10 000 routes, against memoirist', 1.5, 1.3, buildRatios(10000, 10000)],
    ['bytes per route (tables of 100 and more)', 1000, 650, routeBytes],
    ['time of Python Routes / ours', 50, undefined, pythonRatios],
  ]
  const measured = results.filter(({ field }) => field[0].ns)
    .map(({ name, size, field: [our, ...others] }) =>
      ({ name, size, our, others: others.filter(({ ns }) => ns) }))
  console.log('\n' + 'PERFORMANCE.md'.padEnd(50) + columns('target', 'stretch', 'worst'))
  for (const [what, limit, stretch, measure] of rows) {
    const atLeast = measure === pythonRatios
    const [worst] = measure(measured).sort(([a], [b]) => atLeast ? a - b : b - a)
    if (worst === undefined) continue
    const [value, where] = worst
    const met = (bound) => atLeast ? value >= bound : value <= bound
    const verdict = !met(limit) ? 'FAIL' : met(stretch) ? 'pass, stretch' : 'pass'
    console.log(what.padEnd(50) + columns(limit, stretch ?? '-', value.toFixed(2)) +
      `  ${verdict}  (${where})`)
  }
}

function columns(...cells) {
  return cells.map((cell) => String(cell).padStart(9)).join('')
}

function mixRatios(measured) {
  return measured.map(({ name, our, others }) => {
    const plain = others.filter(({ generatesCode }) => !generatesCode)
    return ratio(name, our, plain, 'mix')
  })
}

function kindRatios(measured) {
  return measured.flatMap(({ name, our, others }) => Object.keys(our.ns)
    .filter((kind) => kind !== 'mix' && kind !== 'last')
    .map((kind) => ratio(`${name}, ${kind}`, our, others, kind)))
}

function ratio(where, our, others, kind) {
  const [fastest] = others.filter(({ ns }) => kind in ns)
    .sort((a, b) => a.ns[kind] - b.ns[kind])
  return [our.ns[kind] / fastest.ns[kind], `${where}, ${fastest.name}`]
}

function projectRatios(measured) {
  const withProject = measured.filter(({ name }) => name.includes('project'))
  return withProject.map(({ name, our, others }) => {
    const findMyWay = others.find((peer) => peer.name === 'find-my-way')
    return [mixOf(our) / mixOf(findMyWay), name]
  })
}

function staticTimes(measured) {
  return measured.map(({ name, our }) => [our.ns.static, name])
}

function lastRatio(measured) {
  const last = (size) => measured.find((result) => result.size === size)?.our.ns.last
  return last(10) && last(10000) ? [[last(10000) / last(10), '2 params']] : []
}

function buildRatios(from, to) {
  return (measured) => measured.filter(({ size }) => size >= from && size <= to)
    .map(({ name, our, others }) => {
      const memoirist = others.find((peer) => peer.name === 'memoirist')
      return [our.build / memoirist.build, name]
    })
}

function routeBytes(measured) {
  return measured.filter(({ size }) => size >= 100)
    .map(({ name, our }) => [our.bytes, name])
}

function pythonRatios(measured) {
  return measured.flatMap(({ name, our, others }) => others
    .filter((peer) => peer.name === 'Python Routes')
    .map((python) => [mixOf(python) / mixOf(our), name]))
}
