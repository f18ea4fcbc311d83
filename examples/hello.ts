// A whole server: npm run build && node dist/examples/hello.js
// (or, where TypeScript runs as it is: node examples/hello.ts)

import { AccessLog, Router, makeServer } from '../mini-wsgi.ts'

const router = new Router()
router.get('/', () => 'Hello world!\n')
router.get('/hello/{name}', (_req, { name }) => `Hello ${name}!\n`)
router.post('/echo', async (req) => ({ got: await req.json() }))

const server = await makeServer('127.0.0.1', Number(process.env['PORT'] ?? 8080),
  new AccessLog(router))
console.log(`listening on http://127.0.0.1:${server.port}`)
await server.serveForever()
