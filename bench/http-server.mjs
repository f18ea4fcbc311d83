// The servers that http.mjs compares. One process serves one of them:
//   node http-server.mjs raw
// It tells its port to the parent (IPC) or prints it, and each later message of the
// parent is answered with what the process has used so far.
import http from 'node:http'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'

const miniWsgi = () => import(process.env.MINI_WSGI_JS
  ? pathToFileURL(process.env.MINI_WSGI_JS)
  : new URL('../dist/mini-wsgi.js', import.meta.url))

function* tenChunks() {
  for (let i = 0; i < 10; i++) yield `chunk ${i} of a body that is sent in ten pieces\n`
}

function webStream() {
  const encoder = new TextEncoder()
  return new ReadableStream({
    start(controller) {
      for (const chunk of tenChunks()) controller.enqueue(encoder.encode(chunk))
      controller.close()
    },
  })
}

// A new string each time: what a server queues without waiting stays in memory.
function* gibibyte() {
  for (let i = 0; i < 16 * 1024; i++) yield String(i).padStart(64 * 1024)
}

async function* slowGibibyte() {
  yield* gibibyte()
}

const listen = (handler) => new Promise((resolve) => {
  const server = http.createServer(handler)
  server.listen(0, '127.0.0.1', () => resolve(server.address().port))
})

function send(res, type, body) {
  res.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
  res.end(body)
}

const sendText = (res, text) => send(res, 'text/plain; charset=utf-8', text)

const sendJson = (res, value) => send(res, 'application/json', JSON.stringify(value))

function sendStream(res) {
  res.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' })
  for (const chunk of tenChunks()) res.write(chunk)
  res.end()
}

function readJson(req, done) {
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', () => done(JSON.parse(Buffer.concat(chunks))))
}

// Our application, written as a user would.
async function application() {
  const { Router } = await miniWsgi()
  const router = new Router()
  router.get('/hello', () => 'hello')
  router.get('/users/{id}', (req, { id }) => ({ id }))
  router.post('/echo', async (req) => await req.json())
  router.get('/stream', () => tenChunks())
  router.get('/gibibyte', () => gibibyte())
  router.get('/slow-gibibyte', () => slowGibibyte())
  return router
}

// Every one returns its port. The peers use the fastest form that their documentation
// shows for the job.
const servers = {
  raw: () => listen((req, res) => {
    if (req.url === '/hello') sendText(res, 'hello')
    else if (req.url.startsWith('/users/')) sendJson(res, { id: req.url.slice(7) })
    else if (req.url === '/echo') readJson(req, (value) => sendJson(res, value))
    else if (req.url === '/stream') sendStream(res)
    else res.writeHead(404).end()
  }),

  async ours() {
    const { makeServer } = await miniWsgi()
    const server = await makeServer('127.0.0.1', 0, await application())
    return server.port
  },

  async fastify() {
    const { default: fastify } = await import('fastify')
    const app = fastify()
    app.get('/hello', (req, reply) => { reply.send('hello') })
    app.get('/users/:id', (req, reply) => { reply.send({ id: req.params.id }) })
    app.post('/echo', (req, reply) => { reply.send(req.body) })
    app.get('/stream', (req, reply) => {
      reply.type('text/plain; charset=utf-8').send(Readable.from(tenChunks()))
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    return app.server.address().port
  },

  async hono() {
    const { Hono } = await import('hono')
    const { getRequestListener } = await import('@hono/node-server')
    const app = new Hono()
    app.get('/hello', (c) => c.text('hello'))
    app.get('/users/:id', (c) => c.json({ id: c.req.param('id') }))
    app.post('/echo', async (c) => c.json(await c.req.json()))
    app.get('/stream', (c) => {
      c.header('Content-Type', 'text/plain; charset=utf-8')
      return c.body(webStream())
    })
    return listen(getRequestListener(app.fetch))
  },

  async polka() {
    const { default: polka } = await import('polka')
    const app = polka()
    app.get('/hello', (req, res) => sendText(res, 'hello'))
    app.get('/users/:id', (req, res) => sendJson(res, { id: req.params.id }))
    app.post('/echo', (req, res) => readJson(req, (value) => sendJson(res, value)))
    app.get('/stream', (req, res) => sendStream(res))
    return listen(app.handler)
  },

  async h3() {
    const { H3 } = await import('h3')
    const { toNodeHandler } = await import('h3/node')
    const app = new H3()
    app.get('/hello', () => 'hello')
    app.get('/users/:id', (event) => ({ id: event.context.params.id }))
    app.post('/echo', (event) => event.req.json())
    app.get('/stream', (event) => {
      event.res.headers.set('Content-Type', 'text/plain; charset=utf-8')
      return webStream()
    })
    return listen(toNodeHandler(app))
  },

  async koa() {
    const { default: Koa } = await import('koa')
    const app = new Koa()
    app.use(async (ctx) => {
      if (ctx.path === '/hello') ctx.body = 'hello'
      else if (ctx.path.startsWith('/users/')) ctx.body = { id: ctx.path.slice(7) }
      else if (ctx.path === '/echo') {
        ctx.body = await new Promise((resolve) => readJson(ctx.req, resolve))
      } else if (ctx.path === '/stream') {
        ctx.type = 'text/plain'
        ctx.body = Readable.from(tenChunks())
      }
    })
    return listen(app.callback())
  },

  async express() {
    const { default: express } = await import('express')
    const app = express()
    app.get('/hello', (req, res) => { res.send('hello') })
    app.get('/users/:id', (req, res) => { res.json({ id: req.params.id }) })
    app.post('/echo', express.json(), (req, res) => { res.json(req.body) })
    app.get('/stream', (req, res) => sendStream(res))
    return listen(app)
  },

  async 'ours in express'() {
    const { toNode } = await miniWsgi()
    const { default: express } = await import('express')
    return listen(express().use('/mounted', toNode(await application())))
  },

  async 'ours in connect'() {
    const { toNode } = await miniWsgi()
    const { default: connect } = await import('connect')
    return listen(connect().use('/mounted', toNode(await application())))
  },
}

const port = await servers[process.argv[2]]()

if (process.send) {
  process.on('disconnect', () => process.exit())
  process.on('message', () => {
    globalThis.gc?.()
    const { user, system } = process.cpuUsage()
    const { heapUsed, rss } = process.memoryUsage()
    const peak = process.resourceUsage().maxRSS * 1024
    process.send({ cpu: user + system, heapUsed, rss, peak })
  })
  process.send(port)
} else {
  process.stdout.write(`${port}\n`)
}
