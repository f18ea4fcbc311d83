// How workers reach what lives in the launcher's process (nova.rpc, oslo.messaging): by
// messages, on the channel that node:cluster has between them.
//
//     worker    {"call": 7, "method": "server", "args": ["0de4..", "42"]}
//     launcher  {"reply": 7, "result": {"id": "42", ..}}
//           or  {"reply": 7, "error": {"name": "NotFound", "message": ".."}}
//           or, of what is done once, {"reply": 7, "result": [..], "confirm": true}
//     worker    {"ack": 7}                               now its client has been told

import cluster from 'node:cluster'
import * as exceptions from './exception.ts'

interface Call { readonly call: number; readonly method: string; readonly args: unknown[] }
interface Failure { readonly name: string; readonly message: string }
interface Reply {
  readonly reply: number
  readonly result?: unknown
  readonly error?: Failure | undefined
  readonly confirm?: true
}
interface Ack { readonly ack: number }

/** What workers may call: any of its methods. */
export interface Target {
  /** A method that makes something: who asks again must not have it done again. */
  readonly once: string
  /** A worker died before it could tell its client what that method has made. */
  lost(args: readonly unknown[], result: unknown): void
}

/** In the launcher, before it has workers: answers their calls. */
export function serveCalls(target: Target): void {
  const untold = new Map<string, Promise<void>>()       // what is made once: until it is told
  cluster.on('fork', (worker) => {
    const open = new Map<number, (isTold: boolean) => void>()
    worker.on('message', async (message: Call | Ack) => {
      if ('ack' in message) open.get(message.ack)?.(true)
      if (!('call' in message)) return
      const isOnce = message.method === target.once
      const reply = isOnce ? await once(message) : await answer(target, message)
      worker.send(reply, undefined, undefined, () => {})     // it may die in this moment
    })
    worker.on('disconnect', () => { for (const end of open.values()) end(false) })

    // The same may be asked for by another worker, whose client has lost a first one: it
    // waits until it is known whether that one could still tell.
    async function once(message: Call): Promise<Reply> {
      const { call, args } = message
      const key = JSON.stringify(args)
      while (untold.has(key)) await untold.get(key)
      let free = (): void => {}
      untold.set(key, new Promise((resolve) => { free = resolve }))
      const reply = await answer(target, message)
      const end = (isTold: boolean): void => {
        if (!isTold) target.lost(args, reply.result)
        open.delete(call)
        untold.delete(key)
        free()
      }
      if (worker.isConnected()) open.set(call, end)
      else end(false)
      return { ...reply, confirm: true }
    }
  })
}

async function answer(target: object, { call, method, args }: Call): Promise<Reply> {
  try {
    const func = Reflect.get(target, method) as () => unknown
    return { reply: call, result: await Reflect.apply(func, target, args) }
  } catch (error) {
    if (!(error instanceof exceptions.NovaException)) console.error(error)
    const { name, message } = error instanceof Error ? error : new Error(String(error))
    return { reply: call, error: { name, message } }
  }
}

/** In a worker: an object whose every method is a call to the launcher's target. */
export function remote<T extends object>(): T {
  const client = new RpcClient()
  return new Proxy({} as T, {
    get: (_, method) => (...args: unknown[]) => client.call(String(method), args),
  })
}

interface Waiting { resolve(result: unknown): void; reject(error: Error): void }

class RpcClient {
  readonly #waiting = new Map<number, Waiting>()
  #calls = 0

  constructor() {
    process.on('message', (message: Reply) => { if ('reply' in message) this.#take(message) })
  }

  call(method: string, args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call = ++this.#calls
      this.#waiting.set(call, { resolve, reject })
      this.#send({ call, method, args }, (error) => { this.#take({ reply: call, error }) })
    })
  }

  // Whoever waits goes on at once, and his answer to the client is written before the
  // next turn of the event loop: until then, dying loses it.
  #take({ reply, result, error, confirm }: Reply): void {
    const waiting = this.#waiting.get(reply)
    this.#waiting.delete(reply)
    if (error) waiting?.reject(revive(error))
    else waiting?.resolve(result)
    if (confirm) setImmediate(() => { this.#send({ ack: reply }, () => {}) })
  }

  #send(message: Call | Ack, failed: (error: Error) => void): void {
    process.send?.(message, undefined, undefined, (error) => { if (error) failed(error) })
  }
}

// What nova's exceptions say is for the client: they cross as themselves. Any other error
// is as unexpected here as it was there.
function revive({ name, message }: Failure): Error {
  const Kind: unknown = Reflect.get(exceptions, name)
  return typeof Kind === 'function' ? new (Kind as new (text: string) => Error)(message)
    : new Error(`${name}: ${message}`)
}
