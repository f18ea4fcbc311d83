// Figures of serving: requests lost when a server stops, reloads, or loses a worker;
// iterators that stay open when clients hang up; whether clients can read a 413.
//
//     node serving.mjs            # about half a minute; raw sockets on loopback

import { fork } from 'node:child_process'
import { connect } from 'node:net'
import { fileURLToPath, pathToFileURL } from 'node:url'

const BUILD = process.env.MINI_WSGI_JS
  ?? fileURLToPath(new URL('../dist/mini-wsgi.js', import.meta.url))
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// The servers ───────────────────────────────────────────────────────────────────────────

async function serve(kind) {
  const { makeServer, ProcessLauncher, WSGIService, wsgify } = await import(pathToFileURL(BUILD).href)
  const counts = { opened: 0, closed: 0 }
  async function* endless() {
    counts.opened++
    try {
      for (;;) {
        yield 'x'.repeat(1000)
        await sleep(20)
      }
    } finally {
      counts.closed++
    }
  }
  const app = wsgify(async (req) => {
    if (req.path === '/endless') return endless()
    if (req.path === '/slow') await sleep(500)
    if (req.path === '/body') return String((await req.bytes()).length)
    return String(process.pid)
  })
  if (kind === 'one') {
    const server = await makeServer('127.0.0.1', 0, app, { maxBody: 100_000 })
    process.on('message', () => process.send(counts))
    process.send({ port: server.port })
    await server.serveForever()
    process.disconnect()
  } else {
    const launcher = new ProcessLauncher()
    const service = new WSGIService('one', { loader: { loadApp: () => app }, host: '127.0.0.1', workers: 2 })
    await launcher.launchService(service)
    if (!process.env.MINI_WSGI_SERVICE) process.send({ port: service.port })
    await launcher.wait()
    if (!process.env.MINI_WSGI_SERVICE) process.disconnect()
  }
}

async function withServer(kind, use) {
  const child = fork(fileURLToPath(import.meta.url), [kind], { silent: true })
  const exit = new Promise((resolve) => child.on('exit', (code, signal) => resolve(signal ?? code)))
  try {
    const { port } = await new Promise((resolve) => child.once('message', resolve))
    return await use({ port, child, exit })
  } finally {
    child.kill('SIGKILL')
    await exit
  }
}

// The clients ───────────────────────────────────────────────────────────────────────────

/** Sends a request; gives its whole answer, or '' if there was none. */
function ask(socket, path, headers = '') {
  return new Promise((resolve) => {
    let text = ''
    const end = (answer) => {
      clearTimeout(late)
      socket.off('data', take).off('close', lose)
      resolve(answer)
    }
    const lose = () => end('')
    const late = setTimeout(() => { socket.destroy() }, 10_000)
    const take = (piece) => {
      text += piece
      const [head, length] = /^HTTP\/1\.1 200 [^]*?Content-Length: (\d+)[^]*?\r\n\r\n/i.exec(text) ?? []
      if (head && text.length >= head.length + Number(length)) end(text)
    }
    socket.on('data', take).on('close', lose)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`)
  })
}

const dial = (port) => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1', () => resolve(socket)).setNoDelay()
  socket.on('error', () => resolve(null))
})

/** `clients` ask until `isOver()`, on kept or new connections; how many got no answer? */
async function load(port, clients, isOver, isKept) {
  const tally = { asked: 0, lost: 0, refused: 0 }
  await Promise.all(Array.from({ length: clients }, async () => {
    let socket = null
    while (!isOver()) {
      if (!socket || socket.destroyed || socket.readableEnded) socket = await dial(port)
      if (!socket) {
        tally.refused++
        await sleep(10)
        continue
      }
      tally.asked++
      const answer = await ask(socket, '/', isKept ? '' : 'Connection: close\r\n')
      if (!answer) tally.lost++
      if (!answer || /Connection: close/.test(answer)) {
        socket.destroy()
        socket = null
      }
      if (isKept) await sleep(Math.random() * 20)
    }
    socket?.destroy()
  }))
  return tally
}

/** During load on kept and on new connections: calls `happen`; waits `ms` more. */
async function underLoad({ port }, happen, ms) {
  let isOver = false
  const loads = [true, false].map((isKept) => load(port, 10, () => isOver, isKept))
  await sleep(500)
  await happen()
  await sleep(ms)
  isOver = true
  const [kept, fresh] = await Promise.all(loads)
  const says = ({ asked, lost, refused }) => `${lost} of ${asked} lost, ${refused} refused`
  return `kept connections: ${says(kept)}; new ones: ${says(fresh)}`
}

// The figures ───────────────────────────────────────────────────────────────────────────

async function sigterm(kind) {
  return withServer(kind, async ({ port, child, exit }) => {
    const answers = Array.from({ length: 100 }, async () => ask(await dial(port), '/slow'))
    const idle = await dial(port)
    await sleep(200)
    const sent = Date.now()
    child.kill('SIGTERM')
    const lost = (await Promise.all(answers)).filter((answer) => answer === '').length
    const code = await exit
    idle.destroy()
    return `${lost} of 100 lost; exit ${code} after ${Date.now() - sent} ms`
  })
}

/** Whoever hangs up in the middle of an endless answer. */
const hangUps = (connections, pipelined) => withServer('one', async ({ port, child }) => {
  const text = 'GET /endless HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(pipelined)
  for (let at = 0; at < connections; at += 50) {
    await Promise.all(Array.from({ length: Math.min(50, connections - at) }, async () => {
      const socket = await dial(port)
      socket.write(text)
      await new Promise((resolve) => socket.once('data', resolve))
      socket.destroy()
    }))
  }
  await sleep(500)
  child.send('counts')
  const { opened, closed } = await new Promise((resolve) => child.once('message', resolve))
  return `${opened - closed} of ${opened} iterators open after ${connections * pipelined} requests`
})

/** A client that sends all it has to say before it looks for the answer. */
const sends = (port, head, body) => new Promise((resolve) => {
  let text = ''
  const socket = connect(port, '127.0.0.1', () => {
    socket.pause()
    socket.write(`POST /body HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n`)
    if (body) socket.write(body, () => socket.resume())
    else socket.resume()
  })
  socket.on('error', () => {}).on('data', (piece) => { text += piece })
  socket.on('close', () => resolve(text))
})

const refusals = (head, body) => withServer('one', async ({ port }) => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => sends(port, head, body)))
  const read = answers.filter((text) => /^HTTP\/1\.1 413 /.test(text)).length
  return `${read} of 20 read the 413${answers.some((text) => / 100 /.test(text)) ? ', after a 100' : ''}`
})

const LONG = Buffer.alloc(5_000_000, 'x')
const CHUNKED = Buffer.concat([Buffer.from(`${LONG.length.toString(16)}\r\n`), LONG, Buffer.from('\r\n0\r\n\r\n')])

async function main() {
  const say = async (what, figure) => console.log(`${what}: ${await figure}`)
  await say('SIGTERM, 100 in flight, one process', sigterm('one'))
  await say('SIGTERM, 100 in flight, 2 workers', sigterm('two'))
  await say('SIGHUP twice under load', withServer('two', (it) => underLoad(it, async () => {
    it.child.kill('SIGHUP')
    await sleep(1000)
    it.child.kill('SIGHUP')
  }, 2000)))
  await say('SIGKILL of a worker under load', withServer('two', (it) => underLoad(it, async () => {
    const pid = /\d+$/.exec(await ask(await dial(it.port), '/', 'Connection: close\r\n'))[0]
    process.kill(Number(pid), 'SIGKILL')
  }, 1500)))
  await say('1000 hang-ups', hangUps(1000, 1))
  await say('200 pipelined requests, hung up', hangUps(20, 10))
  await say('413 by length', refusals(`Content-Length: ${LONG.length}`, LONG))
  await say('413 by chunks', refusals('Transfer-Encoding: chunked', CHUNKED))
  await say('413 on Expect', refusals(`Content-Length: ${LONG.length}\r\nExpect: 100-continue`, null))
}

if (process.argv[2] === undefined && !process.env.MINI_WSGI_SERVICE) await main()
else await serve(process.argv[2])
