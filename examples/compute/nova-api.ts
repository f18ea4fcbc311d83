// The main program of the articles (nova.cmd.api): a WSGIService for each enabled API, of
// the app that api-paste.ini describes, served until told to stop.
//
//     node dist/examples/compute/nova-api.js --host 127.0.0.1 --port 8774 --auth noauth2
//
// One worker is this process itself; with `--workers 2` a ProcessLauncher has two. Each of
// them then has a store of its own: a server made in one is unknown in the other.
// `--describe` prints what the ini comes to, and ends; `--trace` prints the way of each
// request through it.

import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describe, Loader, ProcessLauncher, WSGIService } from '../../mini-wsgi.ts'
import { MemoryStore, useStore } from './store.ts'
import { printed } from './trace.ts'

const here = dirname(fileURLToPath(import.meta.url))
const ENABLED_APIS = ['osapi_compute']

interface Options {
  host: string
  port: number
  auth: string
  buildMs: number
  workers: number
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
    workers: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    describe: { type: 'boolean', default: false },
  } })
  return {
    host: values.host ?? '',
    port: number('port', values.port, 65535),
    auth: values.auth ?? '',
    buildMs: number('build-ms', values['build-ms'], 3600_000),
    workers: number('workers', values.workers, 64),
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
    const { host, port, auth, buildMs, workers } = options
    useStore(new MemoryStore({ buildMs }))
    const loader = new Loader(join(here, 'api-paste.ini'),
      { globalConf: { auth_strategy: auth } })
    if (options.describe) {
      for (const name of ENABLED_APIS) {
        console.log(String(describe(await loader.loadApp(name))))
      }
      return 0
    }
    const traced = { async loadApp(name: string) {
      return printed(await loader.loadApp(name), auth)
    } }
    const services = ENABLED_APIS.map((name) => new WSGIService(name, {
      loader: options.trace ? traced : loader, host, port, workers,
      keepAliveTimeout: 75_000,
    }))
    await (workers === 1 ? serveHere(services) : serveFromWorkers(services))
    // Ctrl-C reaches us twice under npm: from the terminal, and from npm. We are ending.
    process.on('SIGINT', () => {}).on('SIGTERM', () => {})
    return 0
  } catch (error) {
    console.error(`nova-api: ${(error as Error).message}`)
    return 1
  }
}

/** In this process. */
async function serveHere(services: WSGIService[]): Promise<void> {
  const servers = await Promise.all(services.map((service) => service.start()))
  announce(services)
  await Promise.all(servers.map((server) => server.serveForever()))
}

/** As the articles do it. Each worker comes here too, and serves its own service. */
async function serveFromWorkers(services: WSGIService[]): Promise<void> {
  const launcher = new ProcessLauncher()
  for (const service of services) await launcher.launchService(service)
  if (process.env['MINI_WSGI_SERVICE'] === undefined) announce(services)
  await launcher.wait()
}

function announce(services: WSGIService[]): void {
  for (const { options: { host = '' }, port } of services) {
    console.log(`nova-api listens on http://${host.includes(':') ? `[${host}]` : host}:${port}`)
  }
}

process.exitCode = await main(process.argv.slice(2))
