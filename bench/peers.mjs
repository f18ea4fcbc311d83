// Every router behind one interface:
//   spell(template)         the template in the peer's own spelling
//   build(routes)           registers them; gives find(path, request): the peer's look-up
//                           and its own kind of answer, nothing else, for this is timed
//   read(answer, request)   [handler, params], or nothing for a miss; only for the check
import FindMyWay from 'find-my-way'
import { RegExpRouter } from 'hono/router/reg-exp-router'
import { SmartRouter } from 'hono/router/smart-router'
import { TrieRouter } from 'hono/router/trie-router'
import KoaTreeRouter from 'koa-tree-router'
import MedleyRouter from '@medley/router'
import { Memoirist } from 'memoirist'
import * as rou3 from 'rou3'
import TrekRouter from 'trek-router'

const built = new URL('../dist/mini-wsgi.js', import.meta.url)
const { Mapper } = await import(process.env.MINI_WSGI_JS ?? built)

function colons(wildcard, requirement) {
  return (template) => template.replace(/\{(\w+)(?::([^}]+))?\}/g, (_, name, regexp) => {
    if (regexp === undefined) return `:${name}`
    if (regexp === '.*') return wildcard(name)
    if (requirement === undefined) throw new Error('no requirements on params')
    return requirement(name, regexp)
  })
}

// The wildcard of the tables is called 'path', that of some peers '*'.
function named({ '*': path, ...params }) {
  return path === undefined ? params : { ...params, path }
}

function hono(name, create) {
  return {
    name,
    spell: colons((param) => `:${param}{.+}`, (param, regexp) => `:${param}{${regexp}}`),
    build(routes) {
      const router = create()
      for (const { method, path, handler } of routes) router.add(method, path, handler)
      return (path, { method }) => router.match(method, path)
    },
    // RegExpRouter gives indexes into the match, TrieRouter the params themselves
    read([[found], match]) {
      if (found === undefined || match === undefined) return found
      const [handler, indexes] = found
      const params = Object.entries(indexes).map(([param, i]) => [param, match[i]])
      return [handler, Object.fromEntries(params)]
    },
  }
}

const ours = {
  name: 'mini-wsgi',
  spell: (template) => template,
  build(routes) {
    const mapper = new Mapper()
    for (const { method, path, handler } of routes) {
      mapper.connect(path, { controller: handler, conditions: { method: [method] } })
    }
    return (path, { environ }) => mapper.match(path, environ)
  },
  read: (answer) => {
    if (answer === null) return null
    const { controller, ...params } = answer
    return [controller, params]
  },
}

const memoirist = {
  name: 'memoirist',
  spell: colons(() => '*'),
  build(routes) {
    const router = new Memoirist()
    for (const { method, path, handler } of routes) router.add(method, path, handler)
    return (path, { method }) => router.find(method, path)
  },
  read: (answer) => answer && [answer.store, named(answer.params)],
}

const medley = {
  name: '@medley/router',
  spell: colons(() => '*'),
  build(routes) {
    const router = new MedleyRouter()
    for (const { method, path, handler } of routes) {
      router.register(path)[method] = handler
    }
    return (path, { method }) => {
      const found = router.find(path)
      return found === null || found.store[method] === undefined ? null : found
    }
  },
  read: (answer, { method }) => answer && [answer.store[method], named(answer.params)],
}

const koaTree = {
  name: 'koa-tree-router',
  spell: colons((name) => `*${name}`),
  build(routes) {
    const router = new KoaTreeRouter()
    for (const { method, path, handler } of routes) router.on(method, path, handler)
    return (path, { method }) => router.find(method, path)
  },
  // the value of its wildcard begins with the slash
  read({ handle, params: list }) {
    const params = list.map(({ key, value }) => [key, value.replace(/^\//, '')])
    return handle && [handle[0], Object.fromEntries(params)]
  },
}

const trek = {
  name: 'trek-router',
  spell: colons(() => '*'),
  build(routes) {
    const router = new TrekRouter()
    for (const { method, path, handler } of routes) router.add(method, path, handler)
    return (path, { method }) => router.find(method, path)
  },
  read([handler, list]) {
    const params = list.map(({ name, value }) => [name, value])
    return handler && [handler, named(Object.fromEntries(params))]
  },
}

const findMyWay = {
  name: 'find-my-way',
  generatesCode: true,
  spell: colons(() => '*', (name, regexp) => `:${name}(^${regexp}$)`),
  build(routes) {
    const router = new FindMyWay()
    const unused = () => {} // a handler must be a function here; ours is the store
    for (const { method, path, handler } of routes) {
      router.on(method, path, unused, handler)
    }
    return (path, { method }) => router.find(method, path)
  },
  read: (answer) => answer && [answer.store, named(answer.params)],
}

const rou3Interpreted = {
  name: 'rou3 (interpreted)',
  spell: colons((name) => `**:${name}`, (name, regexp) => `:${name}(${regexp})`),
  build(routes) {
    const router = rou3.createRouter()
    for (const { method, path, handler } of routes) {
      rou3.addRoute(router, method, path, handler)
    }
    return (path, { method }) => rou3.findRoute(router, method, path)
  },
  read: (answer) => answer && [answer.data, answer.params ?? {}],
}

export const peers = [
  ours, memoirist, medley, koaTree, trek, findMyWay, rou3Interpreted,
  hono('hono RegExpRouter', () => new RegExpRouter()),
  hono('hono SmartRouter', () =>
    new SmartRouter({ routers: [new RegExpRouter(), new TrieRouter()] })),
]
