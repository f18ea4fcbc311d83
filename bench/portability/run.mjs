// The portability matrix: copies ../../mini-wsgi.ts, and prints one line for each thing
// that it promises to work with. Exits with 1 where a line is red. See ../README.md.
//
//     node run.mjs [WORD ...]     only cells whose name contains one of the words

import { execFileSync, spawn } from 'node:child_process'
import {
  cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '../..')
const work = join(here, 'work')
const modules = join(here, 'node_modules')
const words = process.argv.slice(2)

const NODE = Object.fromEntries([20, 22, 24, 26]
  .map((version) => [version, join(modules, `node${version}/bin/node`)]))
const DENO = join(modules, '@deno/linux-x64-glibc/deno')
const BUN = join(modules, '@oven/bun-linux-x64/bin/bun')
const WORKERD = join(modules, '@cloudflare/workerd-linux-64/bin/workerd')
const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome']
  .flatMap((name) => process.env.PATH.split(':').map((folder) => join(folder, name)))
  .find(existsSync)
const COMPILERS = { 5.4: 'ts5.4', 5.9: 'ts5.9', 6: 'ts6', 7: 'ts7' }
const ENV = {
  PATH: process.env.PATH, HOME: work, DENO_DIR: join(work, '.deno'), NO_COLOR: '1',
  DENO_NO_UPDATE_CHECK: '1', DENO_NO_PACKAGE_JSON: '1', PORT: '0',
}

// ── Cells ──────────────────────────────────────────────────────────────────────────────

const cells = []
const cell = (name, check) => cells.push({ name, check })

/** Runs a program; what it wrote is the reason when it fails. */
function run(program, args, { cwd = work, timeout = 120_000 } = {}) {
  return new Promise((pass, fail) => {
    const child = spawn(program, args, { cwd, env: ENV, timeout })
    let text = ''
    const note = (data) => { text += data }
    child.stdout.on('data', note)
    child.stderr.on('data', note)
    child.on('error', fail)
    child.on('close', (code) => {
      if (code === 0) pass(text)
      else fail(new Error(text.trim() || `exit code ${code}`))
    })
  })
}

const insist = (isTrue, reason) => { if (!isTrue) throw new Error(reason) }

/** Starts a server, waits until it names its port, hands it to `use`, stops it. */
async function serving(program, args, use, { control = false } = {}) {
  const child = spawn(program, args, {
    cwd: work, env: ENV, stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  let text = ''
  const gone = new Promise((_pass, fail) => {
    child.on('error', fail)
    child.on('exit', (code) => fail(new Error(`it ended with ${code}: ${text}`)))
  })
  gone.catch(() => undefined)
  const port = new Promise((pass, fail) => {
    setTimeout(() => fail(new Error(`no port after 20 s: ${text}`)), 20_000).unref()
    for (const stream of [child.stdout, child.stderr, child.stdio[3]]) {
      stream.on('data', (data) => {
        text += data
        const found = control ? /"port":(\d+)/ : /https?:\/\/[^\s/]*:(\d+)/
        const match = found.exec(text)
        if (match) pass(Number(match[1]))
      })
    }
  })
  try {
    return await Promise.race([gone, port.then(use)])
  } finally {
    child.kill('SIGKILL')
  }
}

const compiled = (name) => join(work, 'js', name)
let app
const checkAt = async (port) => {
  const ask = (path, init) => fetch(`http://127.0.0.1:${port}${path}`, init)
  const said = await app.check(ask)
  insist(said === 'ok', said)
}
const greets = (path, expected) => async (port) => {
  const text = await (await fetch(`http://127.0.0.1:${port}${path}`)).text()
  insist(text === expected, `${path} said ${JSON.stringify(text)}`)
}

// ── Type-checks ────────────────────────────────────────────────────────────────────────

const STRICT = {
  strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true,
  noPropertyAccessFromIndexSignature: true, noImplicitOverride: true, noUnusedLocals: true,
  noUnusedParameters: true, verbatimModuleSyntax: true, isolatedModules: true,
}
/** Flags that came later: the first version that knows them. */
const LATER = { isolatedDeclarations: 5.5, erasableSyntaxOnly: 5.8 }
const LIBS = {
  'DOM, no @types/node': { lib: ['ES2022', 'DOM'], types: [] },
  'WebWorker, no @types/node': { lib: ['ES2022', 'WebWorker'], types: [] },
  '@types/node, no DOM': { lib: ['ES2022'], types: ['node'] },
  '@types/node and DOM': { lib: ['ES2022', 'DOM'], types: ['node'] },
  'workers-types': { lib: ['ES2022'], types: ['@cloudflare/workers-types'] },
  'bun-types': { lib: ['ESNext'], types: ['bun-types'] },
}

async function typeCheck(compiler, options, files) {
  const folder = join(work, `tsc-${Math.random().toString(36).slice(2)}`)
  mkdirSync(folder)
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      target: 'es2022', module: 'esnext', moduleResolution: 'bundler', noEmit: true,
      declaration: true, allowImportingTsExtensions: true, skipLibCheck: true, ...options,
    },
    files,
  }))
  const { bin } = JSON.parse(readFileSync(join(modules, compiler, 'package.json'), 'utf8'))
  await run(process.execPath, [join(modules, compiler, bin.tsc), '-p', folder])
}

for (const [version, compiler] of Object.entries(COMPILERS)) {
  const later = Object.entries(LATER).filter(([, since]) => Number(version) >= since)
  const flags = { ...STRICT, ...Object.fromEntries(later.map(([flag]) => [flag, true])) }
  for (const [lib, options] of Object.entries(LIBS)) {
    cell(`types: TypeScript ${version}, ${lib}`, () =>
      typeCheck(compiler, { ...flags, ...options }, ['../mini-wsgi.ts', '../app.ts']))
  }
}
const check7 = (lib, file) => () =>
  typeCheck('ts7', { ...STRICT, ...LIBS[lib], esModuleInterop: true }, [file])
cell('types: hello-bun.ts', check7('bun-types', '../examples/hello-bun.ts'))
cell('types: hello-workers.ts', check7('workers-types', '../examples/hello-workers.ts'))
cell('types: in-express.ts', check7('@types/node and DOM', '../examples/in-express.ts'))
cell('types: deno check', () => run(DENO, ['check', '--no-config', 'mini-wsgi.ts', 'app.ts']))
cell('types: deno check hello-deno.ts', () =>
  run(DENO, ['check', '--no-config', 'examples/hello-deno.ts']))
cell('types: JSR, no slow types', async () => {
  const folder = join(work, 'jsr')
  mkdirSync(folder)
  cpSync(join(work, 'mini-wsgi.ts'), join(folder, 'mini-wsgi.ts'))
  writeFileSync(join(folder, 'deno.json'),
    JSON.stringify({
      name: '@mini/wsgi', version: '0.1.0', license: 'MIT', exports: './mini-wsgi.ts',
    }))
  const rules = '--rules-include=no-slow-types'
  await run(DENO, ['lint', '--rules-tags=', rules, 'mini-wsgi.ts'], { cwd: folder })
  await run(DENO, ['publish', '--dry-run', '--allow-dirty'], { cwd: folder })
})

// ── Runtimes ───────────────────────────────────────────────────────────────────────────

for (const [version, node] of Object.entries(NODE)) {
  const isOld = Number(version) < 22
  const file = (name) => isOld ? compiled(name.replace(/ts$/, 'js')) : join(work, name)
  const how = isOld ? 'compiled' : 'the .ts'
  cell(`runs: Node ${version}, ${how}, makeServer`, () =>
    serving(node, [file('serve-node.ts')], checkAt))
  cell(`runs: Node ${version}, ${how}, hello.ts`, () =>
    serving(node, [file('examples/hello.ts')], greets('/hello/Ada', 'Hello Ada!\n')))
  cell(`runs: Node ${version}, ${how}, mount-fetch.ts`, () =>
    serving(node, [file('examples/mount-fetch.ts')],
      greets('/web/ping?x=1', 'fetch got /web/ping?x=1\n')))
  cell(`runs: Node ${version}, ${how}, in-express.ts`, () =>
    serving(node, [file('examples/in-express.ts')],
      greets('/v1/hello/Ada', 'Hello Ada from /v1!\n')))
}
cell('runs: Deno', () => serving(DENO, ['run', '-A', '--no-config', 'serve-deno.ts'], checkAt))
cell('runs: Deno, makeServer', () =>
  serving(DENO, ['run', '-A', '--no-config', 'serve-node.ts'], checkAt))
cell('runs: Deno, hello-deno.ts', () =>
  serving(DENO, ['run', '-A', '--no-config', 'examples/hello-deno.ts'],
    greets('/hello/Ada', 'Hello Ada!\n')))
cell('runs: Bun', () => serving(BUN, ['serve-bun.ts'], checkAt))
cell('runs: Bun, makeServer', () => serving(BUN, ['serve-node.ts'], checkAt))
cell('runs: Bun, hello-bun.ts', () =>
  serving(BUN, ['examples/hello-bun.ts'], greets('/hello/Ada', 'Hello Ada!\n')))

/** workerd takes the modules one by one: nothing is bundled. */
function workerd(name, files, use, flags = '') {
  const embeds = Object.entries(files)
    .map(([module, path]) => `(name = "${module}", esModule = embed "js/${path}")`)
  const config = join(work, `${name}.capnp`)
  writeFileSync(config, `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .it)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const it :Workerd.Worker = (
  modules = [${embeds.join(', ')}],
  compatibilityDate = "2025-06-01", compatibilityFlags = [${flags}],
);
`)
  return serving(WORKERD, ['serve', config, '--control-fd=3'], use, { control: true })
}
const WORKER = {
  'serve-workers.js': 'serve-workers.js', 'app.js': 'app.js', 'mini-wsgi.js': 'mini-wsgi.js',
}
cell('runs: workerd', () => workerd('plain', WORKER, checkAt))
cell('runs: workerd with nodejs_compat', () =>
  workerd('compat', WORKER, checkAt, '"nodejs_compat"'))
cell('runs: workerd, hello-workers.ts', () => workerd('hello', {
  'examples/hello-workers.js': 'examples/hello-workers.js', 'mini-wsgi.js': 'mini-wsgi.js',
}, greets('/hello/Ada', 'Hello Ada!\n')))

/** Opens a page of `work` in Chromium, and waits for what it posts to /report. */
async function inChromium(page) {
  insist(CHROMIUM, 'there is no Chromium on the PATH: apt-get install chromium')
  let report
  const reported = new Promise((pass) => { report = pass })
  const server = createServer(async (req, res) => {
    const path = new URL(req.url, 'http://x').pathname
    if (path === '/report') {
      let text = ''
      for await (const chunk of req) text += chunk
      res.end()
      return report(text)
    }
    const file = join(work, path)
    if (!existsSync(file)) return res.writeHead(404).end(`no ${path}`)
    const type = file.endsWith('.js') ? 'text/javascript' : 'text/html; charset=utf-8'
    res.writeHead(200, { 'Content-Type': type }).end(readFileSync(file))
  })
  await new Promise((pass) => { server.listen(0, '127.0.0.1', pass) })
  const profile = join(work, 'profiles', `${server.address().port}`)
  const child = spawn(CHROMIUM, ['--headless', '--no-sandbox', '--disable-gpu',
    '--disable-dev-shm-usage', '--no-first-run', `--user-data-dir=${profile}`,
    `http://127.0.0.1:${server.address().port}/${page}`], { stdio: 'ignore' })
  try {
    const late = new Promise((pass) => {
      setTimeout(pass, 30_000, 'no report in 30 s').unref()
    })
    const said = await Promise.race([reported, late])
    insist(said === 'ok', said)
  } finally {
    const ended = new Promise((pass) => { child.on('close', pass) })
    child.kill() // a SIGKILL would leave its children behind
    await ended
    server.closeAllConnections()
    server.close()
  }
}
const page = (name, body) => writeFileSync(join(work, name), `<!doctype html>
<script>
  const report = (body) => fetch('/report', { method: 'POST', body })
  addEventListener('error', (event) => report(event.message))
  addEventListener('unhandledrejection', (event) => report(String(event.reason)))
</script>
${body}
`)
cell('runs: Chromium, a page', () => {
  page('page.html', `<script type="module">
    import { checkHere } from './js/app.js'
    report(await checkHere())
  </script>`)
  return inChromium('page.html')
})
cell('runs: Chromium, a service worker', () => {
  page('sw.html', `<script type="module">
    import { check } from './js/app.js'
    await navigator.serviceWorker.register('sw.js', { type: 'module' })
    await navigator.serviceWorker.ready
    while (!navigator.serviceWorker.controller) await new Promise((f) => setTimeout(f, 20))
    report(await check((path, init) => fetch(path, init)))
  </script>`)
  writeFileSync(join(work, 'sw.js'), `import { handler } from './js/app.js'
addEventListener('install', () => skipWaiting())
addEventListener('activate', (event) => event.waitUntil(clients.claim()))
addEventListener('fetch', (event) => {
  const { pathname } = new URL(event.request.url)
  if (/^\\/v\\d/.test(pathname)) event.respondWith(handler(event.request))
})
`)
  return inChromium('sw.html')
})

// ── Bundlers ───────────────────────────────────────────────────────────────────────────

const BUNDLERS = {
  async esbuild(entry, out, platform) {
    const { build } = await import('esbuild')
    const { warnings } = await build({
      entryPoints: [entry], outfile: out, platform, bundle: true, minify: true,
      format: platform === 'node' ? 'cjs' : 'iife', absWorkingDir: work, logLevel: 'silent',
    })
    return warnings.map(({ text }) => text)
  },
  async rollup(entry, out, platform) {
    const { rollup } = await import('rollup')
    const warnings = []
    const bundle = await rollup({
      input: join(work, 'js', relative(work, entry).replace(/ts$/, 'js')),
      onwarn: ({ message }) => warnings.push(message),
    })
    await bundle.write({ file: out, format: platform === 'node' ? 'cjs' : 'iife' })
    await bundle.close()
    return warnings
  },
  async webpack(entry, out, platform) {
    const { default: webpack } = await import('webpack')
    const stats = await new Promise((pass, fail) => {
      webpack({
        mode: 'production', target: platform === 'node' ? 'node' : 'web', context: work,
        entry: join(work, 'js', relative(work, entry).replace(/ts$/, 'js')),
        output: { path: dirname(out), filename: relative(dirname(out), out) },
      }, (error, result) => { error ? fail(error) : pass(result) })
    })
    const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true })
    return [...errors, ...warnings].map(({ message }) => message)
  },
  async vite(entry, out, platform) {
    const { build, createLogger } = await import('vite')
    const warnings = []
    const logger = createLogger('silent')
    const note = (message) => { warnings.push(message) }
    await build({
      root: work, configFile: false, publicDir: false,
      logLevel: 'silent', customLogger: { ...logger, warn: note, warnOnce: note, error: note },
      build: {
        outDir: dirname(out), emptyOutDir: false, ssr: platform === 'node',
        rollupOptions: {
          input: entry,
          output: {
            entryFileNames: relative(dirname(out), out),
            format: platform === 'node' ? 'cjs' : 'iife',
          },
        },
      },
    })
    return warnings
  },
}
for (const [name, bundle] of Object.entries(BUNDLERS)) {
  for (const platform of ['browser', 'node']) {
    cell(`bundles: ${name}, for ${platform}`, async () => {
      const ending = platform === 'node' ? 'cjs' : 'js'
      const out = join(work, 'bundles', `${name}-${platform}.${ending}`)
      const entry = join(work, platform === 'node' ? 'self.ts' : 'page.ts')
      const warnings = await bundle(entry, out, platform)
      insist(warnings.length === 0, `it warns: ${warnings.join('\n')}`)
      if (platform === 'node') {
        insist(await run(NODE[20], [out]) === 'ok\n', 'its bundle answers wrongly')
      } else {
        page(`${name}.html`, `<script src="/bundles/${name}-browser.js"></script>`)
        await inChromium(`${name}.html`)
      }
    })
  }
}

// ── The package ────────────────────────────────────────────────────────────────────────

const PACKED = ['LICENSE', 'README.md', 'dist/mini-wsgi.d.ts', 'dist/mini-wsgi.js',
  'mini-wsgi.ts', 'package.json']
const tarball = () => join(work, readdirSync(work).find((name) => name.endsWith('.tgz')))
const consumer = () => join(work, 'consumer/node_modules/mini-wsgi')

cell('package: holds the .ts, .js, .d.ts, README, LICENSE', () => {
  const list = execFileSync('tar', ['-tzf', tarball()], { encoding: 'utf8' })
  const got = list.trim().split('\n').map((name) => name.replace('package/', '')).sort()
  insist(got.join() === PACKED.join(), got.join(' '))
})
cell('package: no helper of the compiler in the .js', () => {
  const code = readFileSync(join(consumer(), 'dist/mini-wsgi.js'), 'utf8')
  const helper = /\b__\w+ = .*/.exec(code)
  insist(!helper, `it has ${helper}`)
})
cell('package: publint', async () => {
  const { publint } = await import('publint')
  const { messages } = await publint({ pkgDir: consumer(), level: 'suggestion', strict: true })
  insist(messages.length === 0, JSON.stringify(messages))
})
cell('package: arethetypeswrong', () =>
  run(process.execPath, [join(modules, '@arethetypeswrong/cli/dist/index.js'), tarball(),
    '--no-color', '--profile', 'esm-only']))
cell("package: import { wsgify } from 'mini-wsgi' is typed", async () => {
  writeFileSync(join(work, 'consumer/main.ts'), `import { wsgify } from 'mini-wsgi'
import type { Request, Wsgified } from 'mini-wsgi'
const app = wsgify((req) => { const one: Request = req; return one.method })
export const kind: Wsgified<[], string> = app
wsgify((req) => {
  // @ts-expect-error a Request has no such thing
  return req.nothing
})
`)
  for (const [compiler, module, moduleResolution] of [
    ['ts5.4', 'nodenext', 'nodenext'], ['ts5.9', 'esnext', 'bundler'],
    ['ts7', 'nodenext', 'nodenext'],
  ]) {
    await typeCheck(compiler, {
      ...STRICT, ...LIBS['DOM, no @types/node'], module, moduleResolution,
      skipLibCheck: false, allowImportingTsExtensions: false,
    }, ['../consumer/main.ts'])
  }
})
for (const [version, node] of Object.entries(NODE)) {
  cell(`package: imported and required by Node ${version}`, async () => {
    const code = "import('mini-wsgi').then(({ wsgify }) => console.log(typeof wsgify))"
    const cwd = join(work, 'consumer')
    insist(await run(node, ['-e', code], { cwd }) === 'function\n', 'no wsgify')
    const required = "console.log(typeof require('mini-wsgi').wsgify)"
    insist(await run(node, ['-e', required], { cwd }) === 'function\n', 'no wsgify')
  })
}

// ── Size ───────────────────────────────────────────────────────────────────────────────

/** Bytes of what esbuild leaves of `code`, minified and gzipped. */
async function sizeOf(code, gzip = true) {
  const { build } = await import('esbuild')
  // The folder has no package.json that says "sideEffects": a copied file has none either.
  const { outputFiles: [file] } = await build({
    stdin: { contents: code, resolveDir: join(work, 'bare'), loader: 'ts' }, bundle: true,
    minify: true, format: 'esm', write: false, logLevel: 'silent',
  })
  return gzip ? gzipSync(file.contents, { level: 9 }).length : file.contents.length
}
const underLimit = (limit, code) => async () => {
  const size = await sizeOf(code)
  insist(size < limit, `${size} bytes, the limit is ${limit}`)
  return `${size} bytes`
}
cell('size: a bare import of the .ts leaves nothing by esbuild', async () => {
  const size = await sizeOf("import './mini-wsgi.ts'", false)
  insist(size === 0, `${size} bytes are left`)
})
cell('size: a bare import of the .js leaves nothing by rollup', async () => {
  const { rollup } = await import('rollup')
  const file = join(work, 'bare.js')
  writeFileSync(file, "import './js/mini-wsgi.js'\n")
  const bundle = await rollup({ input: file, onwarn() {} })
  const { output: [{ code }] } = await bundle.generate({ format: 'es' })
  insist(code.trim() === '', `it leaves: ${code.slice(0, 300)}`)
})
cell('size: the whole file, min+gzip', underLimit(16_000, "export * from './mini-wsgi.ts'"))
cell('size: wsgify + Mapper + Router + toFetch, min+gzip',
  underLimit(8_000, "export { wsgify, Mapper, Router, toFetch } from './mini-wsgi.ts'"))

// ── All of them ────────────────────────────────────────────────────────────────────────

/** Everything that the cells share: the copied file, its compiled form, the package. */
async function prepare() {
  rmSync(work, { recursive: true, force: true })
  mkdirSync(join(work, 'bundles'), { recursive: true })
  mkdirSync(join(work, 'bare'))
  cpSync(join(root, 'mini-wsgi.ts'), join(work, 'mini-wsgi.ts'))
  cpSync(join(root, 'mini-wsgi.ts'), join(work, 'bare/mini-wsgi.ts'))
  writeFileSync(join(work, 'package.json'), '{ "type": "module" }\n')
  mkdirSync(join(work, 'examples'))
  for (const name of ['hello', 'hello-deno', 'hello-bun', 'hello-workers', 'mount-fetch',
    'in-express']) {
    cpSync(join(root, `examples/${name}.ts`), join(work, `examples/${name}.ts`))
  }
  const local = (name) => cpSync(join(here, name), join(work, name))
  for (const name of ['app.ts', 'serve-node.ts', 'serve-deno.ts', 'serve-bun.ts',
    'serve-workers.ts', 'self.ts', 'page.ts']) local(name)

  writeFileSync(join(work, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      target: 'es2022', module: 'esnext', moduleResolution: 'bundler', outDir: 'js',
      rootDir: '.', rewriteRelativeImportExtensions: true, skipLibCheck: true, strict: true,
      lib: ['ES2022', 'DOM'], types: ['node'],
    },
    files: ['app.ts', 'serve-node.ts', 'serve-workers.ts', 'self.ts', 'page.ts',
      'examples/hello.ts', 'examples/hello-workers.ts', 'examples/mount-fetch.ts',
      'examples/in-express.ts'],
  }))
  await run(process.execPath, [join(modules, 'ts7/bin/tsc'), '-p', work])

  await run('npm', ['pack', '--pack-destination', work], { cwd: root })
  const folder = consumer()
  mkdirSync(folder, { recursive: true })
  execFileSync('tar', ['-xzf', tarball(), '-C', folder, '--strip-components=1'])
  cpSync(join(folder, 'dist/mini-wsgi.js'), compiled('mini-wsgi.js'))
  writeFileSync(join(work, 'consumer/package.json'), '{ "type": "module" }\n')
  app = await import(pathToFileURL(compiled('app.js')).href)
}

const isAsked = ({ name }) => words.length === 0 || words.some((word) => name.includes(word))

try {
  await prepare()
} catch (error) {
  console.log(`RED    it builds: ${error.message.replaceAll(root, '').replace(/\s+/g, ' ')}`)
  process.exit(1)
}
const asked = cells.filter(isAsked)
const red = []
const queue = [...asked]
async function worker() {
  for (let one = queue.shift(); one; one = queue.shift()) {
    try {
      const note = await one.check()
      console.log(`green  ${one.name}${/^\d+ bytes$/.test(note) ? `: ${note}` : ''}`)
    } catch (error) {
      red.push(one)
      const reason = error.errors?.map(({ text }) => text).join('; ') ?? error.message
      const text = reason.replaceAll(root, '').replace(/\s+/g, ' ').slice(0, 500)
      console.log(`RED    ${one.name}: ${text}`)
    }
  }
}
await Promise.all([worker(), worker()])
console.log(`${asked.length - red.length} green, ${red.length} red`)
// The browser's last children may write for a moment longer.
rmSync(work, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
process.exit(red.length ? 1 : 0)
