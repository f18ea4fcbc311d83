// On Cloudflare Workers: npx wrangler dev examples/hello-workers.ts

import { Router, toFetch } from '../mini-wsgi.ts'

const router = new Router()
router.get('/hello/{name}', (_req, { name }) => `Hello ${name}!\n`)

export default { fetch: toFetch(router) }
