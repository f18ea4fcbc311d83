// How workers reach what lives in the launcher's process (nova.rpc, oslo.messaging): by
// messages, on the channel that node:cluster has between them.
//
//     worker    {"call": 7, "method": "server", "args": ["0de4..", "42"]}
//     launcher  {"reply": 7, "result": {"id": "42", ..}}
//           or  {"reply": 7, "error": {"name": "NotFound", "message": ".."}}

import cluster from 'node:cluster'
import * as exceptions from './exception.ts'

interface Call { readonly call: number; readonly method: string; readonly args: unknown[] }
interface Failure { readonly name: string; readonly message: string }
interface Reply {
  readonly reply: number
  readonly result?: unknown
  readonly error?: Failure
}

// Of the other messages on the channel we know nothing.
const isCall = (message: unknown): message is Call =>
  typeof message === 'object' && message !== null && 'call' in message

const isReply = (message: unknown): message is Reply =>
  typeof message === 'object' && message !== null && 'reply' in message

/**
 * In the launcher: answers the calls of all workers by the methods of `target`. A worker
 * may be gone before its answer comes; then nobody is told, and nothing is kept.
 */
export function serveCalls(target: object): void {
  cluster.on('message', (worker, message: unknown) => {
    if (!isCall(message)) return
    void answer(target, message).then((reply) => { worker.send(reply, () => {}) })
  })
}

async function answer(target: object, { call, method, args }: Call): Promise<Reply> {
  try {
    const func: unknown = Reflect.get(target, method)
    return { reply: call, result: await Reflect.apply(func as () => unknown, target, args) }
  } catch (error) {
    return { reply: call, error: describeFailure(error) }
  }
}

function describeFailure(error: unknown): Failure {
  if (!(error instanceof exceptions.NovaException)) console.error(error)
  const { name, message } = error instanceof Error ? error : new Error(String(error))
  return { name, message }
}

/** In a worker: an object whose every method is a call to the launcher's `target`. */
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
    process.on('message', (message: unknown) => { if (isReply(message)) this.#take(message) })
  }

  call(method: string, args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call: Call = { call: ++this.#calls, method, args }
      this.#waiting.set(call.call, { resolve, reject })
      process.send?.(call, undefined, undefined, (error) => {
        if (error) this.#take({ reply: call.call, error })
      })
    })
  }

  #take({ reply, result, error }: Reply): void {
    const waiting = this.#waiting.get(reply)
    this.#waiting.delete(reply)
    if (error) waiting?.reject(revive(error))
    else waiting?.resolve(result)
  }
}

// What nova's own exceptions say is for the client: they cross as themselves. Any other
// error is as unexpected here as it was there.
function revive({ name, message }: Failure): Error {
  const kinds: Readonly<Record<string, unknown>> = exceptions
  const Kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined
  return typeof Kind === 'function' ? new (Kind as new (text: string) => Error)(message)
    : new Error(`${name}: ${message}`)
}
