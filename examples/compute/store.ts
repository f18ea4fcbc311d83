// What must be true for every worker: tokens, servers and key pairs. nova has a database
// and a queue for this; here it is one object behind an async interface, and everything
// that goes through it is plain data, so that it can live in another process.

import { randomBytes, randomUUID } from 'node:crypto'

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

/** An action's outcome: the server as it is now, or the state that forbids the action. */
export type Outcome = { readonly server: Server } | { readonly conflict: string }

/** One truth for all. Not found is null or false; nothing here knows HTTP. */
export interface Store {
  addToken(token: Token): Promise<void>
  token(id: string): Promise<Token | null>
  dropToken(id: string): Promise<boolean>

  /** All or nothing: null when the project's quota does not allow that many. */
  createServers(wanted: readonly ServerRequest[], quota: number): Promise<Server[] | null>
  servers(projectId: string): Promise<Server[]>                       // newest first
  server(projectId: string, id: string): Promise<Server | null>
  changeServer(projectId: string, id: string, change: ServerChange):
    Promise<Server | null>
  /** False when there would be more than `max` items. */
  mergeMetadata(projectId: string, id: string, metadata: Metadata, max: number):
    Promise<Server | null | false>
  dropMetadata(projectId: string, id: string, key: string): Promise<boolean | null>
  act(projectId: string, id: string, action: ServerAction): Promise<Outcome | null>
  deleteServer(projectId: string, id: string): Promise<boolean>

  addKeypair(userId: string, keypair: Keypair, max: number):
    Promise<'added' | 'taken' | 'full'>
  keypairs(userId: string): Promise<Keypair[]>
  dropKeypair(userId: string, name: string): Promise<boolean>
}

/** nova's state machine, as far as these actions go. */
const TRANSITIONS: Readonly<Record<ServerAction, {
  from: readonly VmState[]; to: VmState; task: TaskState
}>> = {
  stop: { from: ['active'], to: 'stopped', task: null },
  start: { from: ['stopped'], to: 'active', task: null },
  reboot: { from: ['active'], to: 'active', task: 'rebooting' },
  reboot_hard: { from: ['active', 'stopped'], to: 'active', task: 'rebooting_hard' },
}

/** Everything in this process, and gone with it. */
export class MemoryStore implements Store {
  readonly #buildMs: number
  readonly #tokens = new Map<string, Token>()
  readonly #servers = new Map<string, Server>()
  readonly #keypairs = new Map<string, Map<string, Keypair>>()
  #built = 0

  /** `buildMs`: how long BUILD and REBOOT last. */
  constructor({ buildMs = 300 }: { buildMs?: number } = {}) { this.#buildMs = buildMs }

  // Tokens all live equally long, so the oldest expire first and stand first.
  async addToken(token: Token): Promise<void> {
    for (const [id, { expires }] of this.#tokens) {
      if (expires > Date.now()) break
      this.#tokens.delete(id)
    }
    this.#tokens.set(token.id, token)
  }

  async token(id: string): Promise<Token | null> {
    const token = this.#tokens.get(id)
    return token && token.expires > Date.now() ? token : null
  }

  async dropToken(id: string): Promise<boolean> { return this.#tokens.delete(id) }

  async createServers(wanted: readonly ServerRequest[], quota: number):
      Promise<Server[] | null> {
    const used = this.#of(wanted[0]?.projectId ?? '').length
    return used + wanted.length > quota ? null : wanted.map((one) => this.#build(one))
  }

  // The answer is 202: the work goes on while the API serves others.
  #build(request: ServerRequest): Server {
    const now = Date.now()
    const server: Server = {
      ...request, id: randomUUID(), vmState: 'building', taskState: 'spawning',
      locked: false, created: now, updated: now, launched: null,
      address: address(this.#built++), mac: macAddress(),
    }
    this.#servers.set(server.id, server)
    this.#later(server.id, () =>
      ({ vmState: 'active', taskState: null, launched: Date.now() }))
    return server
  }

  // The server may be gone by then. The timer keeps no process alive.
  #later(id: string, change: () => Partial<Server>): void {
    setTimeout(() => {
      const server = this.#servers.get(id)
      if (server) this.#put(server, change())
    }, this.#buildMs).unref()
  }

  // Records are never changed, only replaced: who has read one keeps what he read.
  // Between #find and #put there is no await, or clients could overwrite each other.
  #put(server: Server, change: Partial<Server>): Server {
    const next = { ...server, ...change, updated: Date.now() }
    this.#servers.set(server.id, next)
    return next
  }

  #find(projectId: string, id: string): Server | null {
    const server = this.#servers.get(id)
    return server?.projectId === projectId ? server : null
  }

  #of(projectId: string): Server[] {
    return [...this.#servers.values()].filter((server) => server.projectId === projectId)
  }

  async servers(projectId: string): Promise<Server[]> {
    return this.#of(projectId).reverse()
  }

  async server(projectId: string, id: string): Promise<Server | null> {
    return this.#find(projectId, id)
  }

  async changeServer(projectId: string, id: string, change: ServerChange):
      Promise<Server | null> {
    const server = this.#find(projectId, id)
    return server && this.#put(server, change)
  }

  async mergeMetadata(projectId: string, id: string, metadata: Metadata, max: number):
      Promise<Server | null | false> {
    const server = this.#find(projectId, id)
    if (!server) return null
    const merged = new Map([...server.metadata, ...metadata])
    return merged.size <= max && this.#put(server, { metadata: [...merged] })
  }

  async dropMetadata(projectId: string, id: string, key: string):
      Promise<boolean | null> {
    const server = this.#find(projectId, id)
    if (!server) return null
    const metadata = server.metadata.filter(([name]) => name !== key)
    if (metadata.length === server.metadata.length) return false
    this.#put(server, { metadata })
    return true
  }

  async act(projectId: string, id: string, action: ServerAction):
      Promise<Outcome | null> {
    const server = this.#find(projectId, id)
    if (!server) return null
    const { from, to, task } = TRANSITIONS[action]
    if (!from.includes(server.vmState)) return { conflict: `vm_state ${server.vmState}` }
    if (server.taskState) return { conflict: `task_state ${server.taskState}` }
    if (task) this.#later(id, () => ({ vmState: to, taskState: null }))
    return { server: this.#put(server, task ? { taskState: task } : { vmState: to }) }
  }

  async deleteServer(projectId: string, id: string): Promise<boolean> {
    return this.#find(projectId, id) !== null && this.#servers.delete(id)
  }

  async addKeypair(userId: string, keypair: Keypair, max: number):
      Promise<'added' | 'taken' | 'full'> {
    const mine = this.#keypairs.get(userId) ?? new Map<string, Keypair>()
    if (mine.has(keypair.name)) return 'taken'
    if (mine.size >= max) return 'full'
    this.#keypairs.set(userId, mine.set(keypair.name, keypair))
    return 'added'
  }

  async keypairs(userId: string): Promise<Keypair[]> {
    return [...this.#keypairs.get(userId)?.values() ?? []]
  }

  async dropKeypair(userId: string, name: string): Promise<boolean> {
    return this.#keypairs.get(userId)?.delete(name) ?? false
  }
}

// 10.0.0.4 and up: the first four are the network's own.
function address(n: number): string {
  const host = (n + 4) % 2 ** 24
  return `10.${host >> 16}.${host >> 8 & 255}.${host & 255}`
}

const macAddress = (): string =>
  ['fa', '16', '3e', ...randomBytes(3).toString('hex').match(/../g) ?? []].join(':')

let current: Store | undefined

/** The store of this process, as `nova.db` is a module that everybody calls. */
export function store(): Store { return current ??= new MemoryStore() }

/** Called once, before the first request, by who owns the truth (nova-api.ts, a test). */
export function useStore(other: Store): void { current = other }
