// A fetch handler, such as Hono's app.fetch, below a path: node examples/mount-fetch.ts

import { Router, fromFetch, makeServer } from '../mini-wsgi.ts'

const inner = (request: Request): Response => {
  const { pathname, search } = new URL(request.url)
  return new Response(`fetch got ${pathname}${search}\n`)
}

const router = new Router()
router.get('/', () => 'Hello world!\n')
router.mount('/web', fromFetch(inner))

const server = await makeServer('127.0.0.1', Number(process.env['PORT'] ?? 8080), router)
console.log(`listening on http://127.0.0.1:${server.port}`)
await server.serveForever()
