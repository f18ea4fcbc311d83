// On Deno: deno run --allow-net --allow-env examples/hello-deno.ts

import { Router, toFetch } from '../mini-wsgi.ts'

const router = new Router()
router.get('/hello/{name}', (_req, { name }) => `Hello ${name}!\n`)

Deno.serve({ port: Number(Deno.env.get('PORT') ?? 8080) }, toFetch(router))
