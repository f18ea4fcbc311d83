// The small application that every cell serves: a Router in a composition, and what it owes.

import { Router, callApplication, loadApp, toFetch, wsgify } from './mini-wsgi.ts'
import type { Application } from './mini-wsgi.ts'

const router = new Router()
router.get('/hello/{name}', (_req, { name }) => `Hello ${name}!\n`)
router.post('/echo', wsgify(async (req) => ({ got: await req.json() })))

const INI = `
[composite:main]
use = egg:Paste#urlmap
/v1 = api
/v2 = plain
[pipeline:api]
pipeline = request_id router
[filter:request_id]
paste.filter_factory = mini-wsgi:RequestId.factory
[app:router]
paste.app_factory = demo:router
[app:plain]
paste.app_factory = demo:plain
`
const registry = {
  'demo:router': () => router,
  'demo:plain': () => loadApp({ 'app:main': { 'paste.app_factory': () => router } }),
}

let loading: Promise<Application> | undefined
/** Loaded at the first request: a Worker may do nothing before. */
export const app: Application = async (environ, startResponse) => {
  loading ??= loadApp(INI, { registry })
  return callApplication(await loading, environ, startResponse)
}

export const handler: (request: Request) => Promise<Response> = toFetch(app)

/** 'ok', or what was wrong with the answers. */
export async function check(
  ask: (path: string, init?: RequestInit) => Promise<Response>,
): Promise<string> {
  const wrong: string[] = []
  const expect = async (status: number, text: string, path: string, init?: RequestInit) => {
    const res = await ask(path, init)
    const got = await res.text()
    if (res.status !== status || !got.includes(text)) {
      wrong.push(`${path}: ${res.status} ${got.slice(0, 200)}`)
    }
    return res
  }
  const res = await expect(200, 'Hello Ada!\n', '/v1/hello/Ada')
  if (!res.headers.has('x-openstack-request-id')) wrong.push('no request id')
  await expect(200, 'Hello Zoë!\n', '/v2/hello/Zo%C3%AB')
  await expect(404, 'Not Found', '/v1/nothing')
  await expect(405, 'Method Not Allowed', '/v1/echo')
  await expect(200, '{"got":{"a":[1,"é"]}}', '/v1/echo', {
    method: 'POST', body: '{"a":[1,"é"]}', headers: { 'Content-Type': 'application/json' },
  })
  return wrong.join('; ') || 'ok'
}

/** The same without a server. */
export const checkHere = (): Promise<string> =>
  check((path, init) => handler(new Request(`http://localhost${path}`, init)))
