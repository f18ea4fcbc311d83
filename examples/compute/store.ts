// What must be true for every worker: tokens, servers and key pairs. nova asks a database
// and a queue; we ask one object behind an async interface. All that goes through it is
// plain data, so that it can live in another process: memory.ts there, rpc.ts between.

import { NovaException } from './exception.ts'
import { errorFor } from './fault.ts'
import { MemoryStore } from './memory.ts'

export interface Token {
  readonly id: string
  readonly userId: string
  readonly projectId: string | null       // null: not scoped
  readonly methods: readonly string[]
  readonly auditId: string
  readonly issued: number                 // milliseconds since 1970
  readonly expires: number
}

/** Metadata is a list of pairs: a key may be called `__proto__`. */
export type Metadata = readonly (readonly [key: string, value: string])[]

export type VmState = 'building' | 'active' | 'stopped'
export type TaskState = 'spawning' | 'rebooting' | 'rebooting_hard' | null

/** What a client asks for, checked. */
export interface ServerRequest {
  readonly projectId: string
  readonly userId: string
  readonly name: string
  readonly description: string | null
  readonly flavorId: string
  readonly imageId: string
  readonly keyName: string | null
  readonly diskConfig: string
  readonly metadata: Metadata
  readonly network: boolean               // false: networks = "none"
}

export interface Server extends ServerRequest {
  readonly id: string
  readonly vmState: VmState
  readonly taskState: TaskState
  readonly locked: boolean
  readonly created: number
  readonly updated: number
  readonly launched: number | null
  readonly address: string
  readonly mac: string
}

/** What servers are searched by, and what a list shows of them: small, of each. */
export type ServerSummary =
  Pick<Server, 'id' | 'name' | 'flavorId' | 'imageId' | 'vmState' | 'taskState'>

export interface Keypair {
  readonly name: string
  readonly publicKey: string
  readonly fingerprint: string
  readonly created: number
}

/** The parts of a server that a request may change. */
export type ServerChange =
  Partial<Pick<Server, 'name' | 'description' | 'metadata' | 'locked'>>

export type ServerAction = 'stop' | 'start' | 'reboot' | 'reboot_hard'

/** One truth for all. It knows no HTTP: what it refuses is an exception of nova. */
export interface Store {
  addToken(token: Token): Promise<void>
  token(id: string): Promise<Token | null>
  dropToken(id: string): Promise<void>

  /**
   * X, or X-1 to X-n: all or nothing, within the project's quota. The answer is the
   * first; they are built after it.
   */
  createServers(wanted: ServerRequest, count: number, quota: number): Promise<Server>
  servers(projectId: string): Promise<ServerSummary[]>                // newest first
  serversById(projectId: string, ids: readonly string[]): Promise<Server[]>
  server(projectId: string, id: string): Promise<Server>
  changeServer(projectId: string, id: string, change: ServerChange): Promise<Server>
  mergeMetadata(projectId: string, id: string, metadata: Metadata, quota: number):
    Promise<Server>
  dropMetadata(projectId: string, id: string, key: string): Promise<void>
  act(projectId: string, id: string, action: ServerAction): Promise<void>
  deleteServer(projectId: string, id: string): Promise<void>

  addKeypair(userId: string, keypair: Keypair, quota: number): Promise<void>
  keypairs(userId: string): Promise<Keypair[]>
  keypair(userId: string, name: string): Promise<Keypair>
  dropKeypair(userId: string, name: string): Promise<void>
}

let current: Store | undefined

/** The store of this process, as `nova.db` is a module that everybody calls. */
export function store(): Store { return current ??= new MemoryStore() }

/** Another one; called before the first request, by nova-api.ts or a test. */
export function useStore(other: Store | undefined): void { current = other }

/** What the store refuses becomes the HTTP error of its code, as in nova's controllers. */
export async function orHTTPError<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    throw error instanceof NovaException ? errorFor(error.code, error.message) : error
  }
}
