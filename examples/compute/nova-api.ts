// The main program of the articles (nova.cmd.api): a WSGIService for each enabled API, of
// the app that api-paste.ini describes, in the workers of a ProcessLauncher.
//
//     node dist/examples/compute/nova-api.js --port 8774 --workers 2 --auth noauth2
//
// The launcher's process has the store, and every worker asks it. `--describe` prints what
// the ini comes to, and ends; `--trace` prints the way of each request through it.

import cluster from 'node:cluster'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describe, Loader, PasteAppNotFound, ProcessLauncher, WSGIService }
  from '../../mini-wsgi.ts'
import { MemoryStore } from './memory.ts'
import { remote, serveCalls } from './rpc.ts'
import { useStore } from './store.ts'
import { printed } from './trace.ts'

const here = dirname(fileURLToPath(import.meta.url))

/** What nova reads from nova.conf; some of it may also stand in the environment. */
function readOptions(args: string[], env: NodeJS.ProcessEnv) {
  return parseArgs({ args, options: {
    'host': { type: 'string', default: env['HOST'] || '127.0.0.1' },
    'port': { type: 'string', default: env['PORT'] || '8774' },
    'auth': { type: 'string', default: env['AUTH_STRATEGY'] || 'keystone' },
    'workers': { type: 'string', default: env['WORKERS'] || '1' },
    'build-ms': { type: 'string', default: env['BUILD_MS'] || '300' },
    'enabled-apis': { type: 'string', default: 'osapi_compute' },
    'enabled-ssl-apis': { type: 'string', default: '' },
    'ssl-cert-file': { type: 'string', default: '' },
    'ssl-key-file': { type: 'string', default: '' },
    'describe': { type: 'boolean', default: false },
    'trace': { type: 'boolean', default: false },
  } }).values
}

type Options = ReturnType<typeof readOptions>

const names = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean)

function number(option: keyof Options, text: string, max: number): number {
  if (/^[0-9]{1,9}$/.test(text) && Number(text) <= max) return Number(text)
  throw new Error(`${option} must be a number, at most ${max}, not ${JSON.stringify(text)}`)
}

/** The exit code: 0 when it was told to stop, 1 when it could not start. */
export async function main(argv: string[]): Promise<number> {
  try {
    const options = readOptions(argv, process.env)
    const loader = new Loader(join(here, 'api-paste.ini'),
      { globalConf: { auth_strategy: options.auth } })
    await (options.describe ? describeAll : serveAll)(options, loader)
    return 0
  } catch (error) {
    console.error(`nova-api: ${(error as Error).message}`)
    return 1
  }
}

async function describeAll(options: Options, loader: Loader): Promise<void> {
  for (const api of names(options['enabled-apis'])) {
    console.log(String(describe(await loader.loadApp(api))))
  }
}

/** Every worker comes here too; in it, launchService serves the worker's own service. */
async function serveAll(options: Options, loader: Loader): Promise<void> {
  openStore(number('build-ms', options['build-ms'], 3600_000))
  // Workers accept by themselves: what the launcher would hand to one that dies at this
  // moment, nobody would answer, or reset.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  const launcher = new ProcessLauncher()
  let started = 0
  for (const api of names(options['enabled-apis'])) {
    try {
      const service = await makeService(api, options, loader)
      await launcher.launchService(service)
      announce(service)
      started++
    } catch (error) {
      if (!(error instanceof PasteAppNotFound)) throw error
      console.warn(`nova-api: ${error.message}. This API is left out; mend --enabled-apis`)
    }
  }
  if (started === 0) throw new Error('No APIs were started. Check --enabled-apis.')
  await launcher.wait()
}

/** One truth for all: the launcher's, which its workers ask. */
function openStore(buildMs: number): void {
  if (cluster.isWorker) useStore(remote())
  else serveCalls(new MemoryStore({ buildMs }))
}

// The launcher loads the app as well, so that a bad ini is seen before there are workers.
async function makeService(api: string, options: Options, loader: Loader):
    Promise<WSGIService> {
  const app = await loader.loadApp(api)
  const port = number('port', options.port, 65535)
  const { 'ssl-key-file': key, 'ssl-cert-file': cert } = options
  return new WSGIService(api, {
    loader: { loadApp: () => options.trace ? printed(app, options.auth) : app },
    host: options.host,
    port: port && port + names(options['enabled-apis']).indexOf(api),  // 8774, 8775, ..
    workers: number('workers', options.workers, 64),
    keepAliveTimeout: 75_000,
    useSsl: names(options['enabled-ssl-apis']).includes(api),
    ssl: { ...key && { key: readFileSync(key) }, ...cert && { cert: readFileSync(cert) } },
  })
}

function announce({ options: { host = '', useSsl }, port }: WSGIService): void {
  const name = host.includes(':') ? `[${host}]` : host
  const url = `${useSsl ? 'https' : 'http'}://${name}:${port}`
  if (cluster.isPrimary) console.log(`nova-api listens on ${url}`)
}

process.exit(await main(process.argv.slice(2)))
