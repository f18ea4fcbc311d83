// The route tables, and the requests that are put to them.
// A route is {method, template, handler}; templates are spelled as in mini-wsgi.
import { readFileSync } from 'node:fs'

const placeholder = /\{(\w+)(?::([^}]+))?\}/g

// The table of hono's own router benchmark.
const hono = `
/user GET
/user/comments GET
/user/avatar GET
/user/lookup/username/{username} GET
/user/lookup/email/{address} GET
/event/{id} GET
/event/{id}/comments GET
/event/{id}/comment POST
/map/{location}/events GET
/status GET
/very/deeply/nested/route/hello/there GET
/static/{path:.*} GET`

// One line per path: the template, then its methods.
function parse(text) {
  return text.trim().split('\n').flatMap((line) => {
    const [template, ...methods] = line.split(' ')
    return methods.map((method) => ({ method, template }))
  })
}

const data = (name) => readFileSync(new URL(`data/${name}.txt`, import.meta.url), 'utf8')

// As nova's ProjectMapper does: every route with the project first, then without.
function withProject({ method, template }) {
  const project = '/{project_id:[0-9a-f-]+}'
  return [{ method, template: project + template }, { method, template }]
}

// Of ten generated routes four are static, three have one param, two have two and one
// is a wildcard. The last of the ten, and so of every table, has two params. No literal
// stands beside a param: two of the peers would refuse the table.
const words = ['accounts', 'builds', 'cards', 'devices', 'events', 'flows', 'groups']

function generated(size) {
  return Array.from({ length: size }, (_, i) => {
    const group = Math.floor(i / 10)
    const name = words[group % words.length] + group
    const templates = [
      `/${name}`, `/about/${name}`, `/${name}/{id}`, `/status/${name}/health`,
      `/${name}/{id}/owner`, `/${name}/{id}/files/{path:.*}`,
      `/${name}/{id}/members/{user}`, `/search/${name}/recent`, `/${name}/{id}/history`,
      `/${name}/{id}/parts/{part}`,
    ]
    return { method: 'GET', template: templates[i % 10] }
  })
}

const letters = 'abcdefghijklmnopqrstuvwxyz'
const hex = '0123456789abcdef'
const text = (random, alphabet, length) =>
  Array.from({ length }, () => alphabet[random(alphabet.length)]).join('')
const uuid = (random) =>
  [8, 4, 4, 4, 12].map((length) => text(random, hex, length)).join('-')
const word = (random) => text(random, letters, 4 + random(9))
const number = (random) => String(1 + random(1e6))

// Every table: its routes, and how a value of a param looks.
export const tables = [
  ['hono 12', parse(hono), word],
  ['GitHub 203', parse(data('github')), word],
  ['Nova 205', parse(data('nova')), uuid],
  ['Nova + project 410', parse(data('nova')).flatMap(withProject), uuid],
  ...[10, 100, 1000, 10000].map((size) => [`${size} routes`, generated(size), number]),
].map(([name, routes, value]) => ({
  name,
  value,
  routes: routes.map((route, id) => ({ ...route, handler: { id } })),
}))

const kinds = ['static', '1 param', '2 params', '3+ params', 'wildcard']

function kindOf({ template }) {
  if (template.includes(':.*}')) return 'wildcard'
  return kinds[Math.min(3, [...template.matchAll(placeholder)].length)]
}

// Lehmer's generator: the same requests in every run.
function seeded(seed) {
  let state = seed
  return (below) => {
    state = state * 48271 % 2147483647
    return state % below
  }
}

function hit(route, value, random) {
  const params = {}
  const path = route.template.replace(placeholder, (_, name, pattern) => {
    params[name] = value(random)
    if (pattern === '.*') params[name] += `/${value(random)}`
    return params[name]
  })
  return { method: route.method, path, handler: route.handler, params }
}

// A path that goes wrong at its first letter, or one that goes on where it should end.
function miss(route, value, random) {
  const { method, path } = hit(route, value, random)
  const early = random(2) === 0 || kindOf(route) === 'wildcard'
  const wrong = early ? `/x${path.slice(1)}` : `${path}/missing/entirely/wrong`
  return { method, path: wrong, handler: undefined, params: {} }
}

// The requests of a table by kind: 1000 of each, spread evenly over the routes or, where
// there are more routes, over a sample of them.
export function requestsOf({ routes, value }) {
  const random = seeded(42)
  const list = (subset, make) => {
    const order = shuffle([...subset], random)
    const chosen = Array.from({ length: 1000 }, (_, i) => order[i % order.length])
    return shuffle(chosen, random).map((route) => make(route, value, random))
  }
  const subsets = kinds
    .map((kind) => [kind, routes.filter((route) => kindOf(route) === kind)])
    .filter(([, subset]) => subset.length > 0)
  return {
    mix: list(routes, hit),
    ...Object.fromEntries(subsets.map(([kind, subset]) => [kind, list(subset, hit)])),
    miss: list(routes, miss),
    last: list(routes.slice(-1), hit),
  }
}

function shuffle(items, random) {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random(i + 1)
    items.splice(i, 1, ...items.splice(j, 1, items[i]))
  }
  return items
}
