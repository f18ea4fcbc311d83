// The main program of the articles (nova.cmd.api): load the app that api-paste.ini
// describes, and serve it until told to stop.
//
//     node dist/examples/compute/nova-api.js --host 127.0.0.1 --port 8774 --auth noauth2
//
// `--describe` prints what the ini comes to, and ends; `--trace` prints the way of each
// request through it.

import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describe, loadApp, makeServer } from '../../mini-wsgi.ts'
import { MemoryStore, useStore } from './store.ts'
import { printed } from './trace.ts'

const here = dirname(fileURLToPath(import.meta.url))

interface Options {
  host: string
  port: number
  auth: string
  buildMs: number
  trace: boolean
  describe: boolean
}

/** What the command line says, else the environment, else the usual. */
function readOptions(argv: string[], env: NodeJS.ProcessEnv): Options {
  const { values } = parseArgs({ args: argv, options: {
    host: { type: 'string', default: env['HOST'] || '127.0.0.1' },
    port: { type: 'string', default: env['PORT'] || '8774' },
    auth: { type: 'string', default: env['AUTH_STRATEGY'] || 'keystone' },
    'build-ms': { type: 'string', default: env['BUILD_MS'] || '300' },
    trace: { type: 'boolean', default: false },
    describe: { type: 'boolean', default: false },
  } })
  return {
    host: values.host ?? '',
    port: number('port', values.port, 65535),
    auth: values.auth ?? '',
    buildMs: number('build-ms', values['build-ms'], 3600_000),
    trace: values.trace === true,
    describe: values.describe === true,
  }
}

function number(name: string, text = '', max: number): number {
  if (/^[0-9]{1,9}$/.test(text) && Number(text) <= max) return Number(text)
  throw new Error(`${name} must be a number, at most ${max}, not ${JSON.stringify(text)}`)
}

/** Serves until SIGINT or SIGTERM; then the process has nothing left to do, and ends. */
export async function main(argv: string[]): Promise<number> {
  try {
    const options = readOptions(argv, process.env)
    const { host, port, auth, buildMs } = options
    useStore(new MemoryStore({ buildMs }))
    const app = await loadApp('config:api-paste.ini', {
      name: 'osapi_compute', relativeTo: here, globalConf: { auth_strategy: auth },
    })
    if (options.describe) {
      console.log(String(describe(app)))
      return 0
    }
    const served = options.trace ? printed(app, auth) : app
    const server = await makeServer(host, port, served, { keepAliveTimeout: 75_000 })
    const name = host.includes(':') ? `[${host}]` : host
    console.log(`nova-api listens on http://${name}:${server.port}`)
    await server.serveForever()
    // Ctrl-C reaches us twice under npm: from the terminal, and from npm. We are ending.
    process.on('SIGINT', () => {}).on('SIGTERM', () => {})
    return 0
  } catch (error) {
    console.error(`nova-api: ${(error as Error).message}`)
    return 1
  }
}

process.exitCode = await main(process.argv.slice(2))
