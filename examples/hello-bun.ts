// On Bun: bun examples/hello-bun.ts

import { Router, toFetch } from '../mini-wsgi.ts'

const router = new Router()
router.get('/hello/{name}', (_req, { name }) => `Hello ${name}!\n`)

const port = Number(process.env['PORT'] ?? 8080)
const server = Bun.serve({ port, fetch: toFetch(router) })
console.log(`listening on ${server.url}`)
