// What ours and five others do with the same requests, as a table:
//   node others.mjs
// Bottle is asked where /usr/bin/python3 has it (Debian: python3-bottle).
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createRequire } from 'node:module'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { serve } from '@hono/node-server'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { AutoRouter } from 'itty-router'

const ours = new URL('../dist/mini-wsgi.js', import.meta.url)
const { makeServer, Router } = await import(process.env.MINI_WSGI_JS ?? ours)

console.error = () => {} // what they log of broken requests
const host = '127.0.0.1'
const fetchServer = (fetch) => new Promise((resolve) => {
  serve({ fetch, port: 0, hostname: host }, ({ port }) => resolve(port))
})

// The same three routes, as each documentation writes them: a variable before a literal.
const servers = {
  async 'mini-wsgi'() {
    const router = new Router()
    router.get('/users/{id}', (req, { id }) => `user ${id}`)
    router.get('/users/me', () => 'me')
    router.post('/json', async (req) => await req.json())
    return (await makeServer(host, 0, router)).port
  },
  hono() {
    const app = new Hono()
    app.get('/users/:id', (c) => c.text(`user ${c.req.param('id')}`))
    app.get('/users/me', (c) => c.text('me'))
    app.post('/json', async (c) => c.json(await c.req.json()))
    return fetchServer(app.fetch)
  },
  async express() {
    const app = express().use(express.json())
    app.get('/users/:id', (req, res) => res.send(`user ${req.params.id}`))
    app.get('/users/me', (req, res) => res.send('me'))
    app.post('/json', (req, res) => res.json(req.body))
    const server = app.listen(0, host)
    await once(server, 'listening')
    return server.address().port
  },
  async fastify() {
    const app = Fastify()
    app.get('/users/:id', (req) => `user ${req.params.id}`)
    app.get('/users/me', () => 'me')
    app.post('/json', (req) => req.body)
    await app.listen({ port: 0, host })
    return app.server.address().port
  },
  'itty-router'() {
    const app = AutoRouter()
    app.get('/users/:id', (req) => new Response(`user ${req.params.id}`))
    app.get('/users/me', () => new Response('me'))
    app.post('/json', async (req) => await req.json())
    return fetchServer(app.fetch)
  },
}

const bottle = `
import io, json, sys, bottle
app = bottle.Bottle()
app.route('/users/<id>', callback=lambda id: 'user ' + id)
app.route('/users/me', callback=lambda: 'me')
app.route('/json', method='POST', callback=lambda: bottle.request.json)
def ask(method, path, body):
    said = []
    environ = {'REQUEST_METHOD': method, 'PATH_INFO': path.replace('%ff', chr(255)),
        'SERVER_NAME': 'x', 'SERVER_PORT': '80', 'SERVER_PROTOCOL': 'HTTP/1.1',
        'wsgi.url_scheme': 'http', 'wsgi.errors': io.StringIO(), 'CONTENT_LENGTH': str(len(body)),
        'wsgi.input': io.BytesIO(body.encode()), 'CONTENT_TYPE': 'application/json'}
    text = b''.join(app(environ, lambda status, headers, *rest: said.append((status, headers))))
    status, headers = said[0]
    return [status[:3], dict(headers).get('Allow', ''), text.decode('utf-8', 'replace')]
print(json.dumps([ask(*one) for one in json.loads(sys.argv[1])]))
`

const questions = [
  ['`/users/{id}`, then `/users/me`: who answers', 'GET', '/users/me', ''],
  ['PUT where only GET is', 'PUT', '/users/1', ''],
  ['HEAD where only GET is', 'HEAD', '/users/1', ''],
  ['the path `/users/%ff`', 'GET', '/users/%ff', ''],
  ['JSON that is none', 'POST', '/json', '{bad'],
]

async function ask(port, method, path, body) {
  const socket = net.connect(port, host)
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n`
    + (body && `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`)
    + `\r\n${body}`)
  let answer = ''
  for await (const chunk of socket) answer += chunk
  const [head, text = ''] = answer.split('\r\n\r\n')
  return [head.slice(9, 12), /^allow: (.*)$/im.exec(head)?.[1] ?? '', text]
}

const cell = ([status, allow, text]) => {
  if (text === 'me') return 'the literal'
  if (text === 'user me') return 'the first'
  return allow ? `${status}, Allow` : status
}

// How many packages it brings, itself included, as they are installed here.
function packages(name, from = import.meta.url, seen = new Set()) {
  const paths = createRequire(from).resolve.paths(name)
  const path = paths.map((folder) => `${folder}/${name}/package.json`).find((file) => {
    try { return createRequire(from)(file) } catch { return false }
  })
  if (seen.has(name)) return seen
  seen.add(name)
  const { dependencies = {} } = createRequire(from)(path)
  for (const inner of Object.keys(dependencies)) packages(inner, path, seen)
  return seen
}

async function kilobytes(name) {
  const all = name === 'mini-wsgi' ? `export * from '${ours.pathname}'`
    : `import * as all from '${name}'; export { all }`
  const { outputFiles: [file] } = await build({ bundle: true, minify: true, write: false,
    format: 'esm', platform: 'node', logLevel: 'silent',
    stdin: { contents: all, resolveDir: import.meta.dirname } })
  return (gzipSync(file.contents, { level: 9 }).length / 1000).toFixed(1)
}

const columns = {}
for (const [name, start] of Object.entries(servers)) {
  const port = await start()
  const answers = []
  for (const [, ...question] of questions) answers.push(cell(await ask(port, ...question)))
  columns[name] = [name === 'mini-wsgi' ? 1 : packages(name).size, await kilobytes(name), ...answers]
}
const { stdout } = spawnSync('/usr/bin/python3',
  ['-c', bottle, JSON.stringify(questions.map((one) => one.slice(1)))], { encoding: 'utf8' })
if (stdout) columns.bottle = [1, '-', ...JSON.parse(stdout).map(cell)]

const titles = ['packages', 'kB, minified and gzipped', ...questions.map(([title]) => title)]
console.log(`| | ${Object.keys(columns).join(' | ')} |\n|---|${'---|'.repeat(Object.keys(columns).length)}`)
titles.forEach((title, i) => {
  console.log(`| ${title} | ${Object.values(columns).map((column) => column[i]).join(' | ')} |`)
})
process.exit()
