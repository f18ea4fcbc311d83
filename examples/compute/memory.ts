// The database of this cloud: everything in this process, and gone with it.

import { randomBytes, randomUUID } from 'node:crypto'
import { ComputeService } from './compute.ts'
import { Conflict, NotFound, QuotaError } from './exception.ts'
import type { Target } from './rpc.ts'
import type {
  Keypair, Metadata, Server, ServerAction, ServerChange, ServerRequest, ServerSummary,
  Store, TaskState, Token, VmState,
} from './store.ts'

/** From which state an action goes, and to which; a task takes its time. */
const TRANSITIONS: Readonly<Record<ServerAction, {
  from: readonly VmState[]; to: VmState; task: TaskState
}>> = {
  stop: { from: ['active'], to: 'stopped', task: null },
  start: { from: ['stopped'], to: 'active', task: null },
  reboot: { from: ['active'], to: 'active', task: 'rebooting' },
  reboot_hard: { from: ['active', 'stopped'], to: 'active', task: 'rebooting_hard' },
}

/** How soon a client asks again, if at all: milliseconds. */
const RETRY_TIME = 10_000

// Records are never changed, only replaced: who has read one keeps what he read. Between
// reading and writing there is no await, or clients could overwrite each other.
export class MemoryStore implements Store, Target {
  readonly once = 'createServers'
  readonly #compute: ComputeService
  readonly #tokens = new Map<string, Token>()
  readonly #servers = new Map<string, Server>()
  readonly #keypairs = new Map<string, Map<string, Keypair>>()       // by user, by name
  readonly #lost = new Map<string, Server>()           // by what was asked for, as JSON
  #built = 0

  /** `buildMs`: how long BUILD and REBOOT last. */
  constructor({ buildMs = 300 }: { buildMs?: number } = {}) {
    this.#compute = new ComputeService(buildMs)
  }

  // The oldest stand first, and mostly expire first. One that was made for an older token
  // expires with that, and is dropped with those before it.
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

  async dropToken(id: string): Promise<void> { this.#tokens.delete(id) }

  async createServers(wanted: ServerRequest, count: number, quota: number):
      Promise<Server> {
    const again = this.#takeLost([wanted, count, quota])
    if (again) return again
    const used = this.#of(wanted.projectId).length
    if (used + count > quota) {
      throw new QuotaError(`Quota exceeded for instances: Requested ${count}, ` +
        `but already used ${used} of ${quota} instances`)
    }
    if (count === 1) return this.#create(wanted)
    const create = (n: number): Server =>
      this.#create({ ...wanted, name: `${wanted.name}-${n}` })
    const first = create(1)
    for (let n = 2; n <= count; n++) create(n)
    return first
  }

  /**
   * Nobody knows of these servers: their worker died first. A client whose connection
   * breaks asks once more, and then he is given them, not a second set.
   */
  lost(args: readonly unknown[], result: unknown): void {
    if (!result) return                                 // it was an error
    const key = JSON.stringify(args)
    this.#lost.set(key, result as Server)
    setTimeout(() => { this.#lost.delete(key) }, RETRY_TIME).unref()
  }

  #takeLost(args: readonly unknown[]): Server | undefined {
    const key = JSON.stringify(args)
    const lost = this.#lost.get(key)
    this.#lost.delete(key)
    return lost && this.#servers.has(lost.id) ? lost : undefined
  }

  #create(request: ServerRequest): Server {
    const now = Date.now()
    const server: Server = {
      ...request, id: randomUUID(), vmState: 'building', taskState: 'spawning',
      locked: false, created: now, updated: now, launched: null,
      address: address(this.#built++), mac: macAddress(),
    }
    this.#servers.set(server.id, server)
    this.#compute.build((change) => this.#update(server.id, change))
    return server
  }

  async servers(projectId: string): Promise<ServerSummary[]> {
    return this.#of(projectId).reverse().map(summary)
  }

  async serversById(projectId: string, ids: readonly string[]): Promise<Server[]> {
    return ids.flatMap((id) => this.#servers.get(id) ?? [])
      .filter((server) => server.projectId === projectId)
  }

  async server(projectId: string, id: string): Promise<Server> {
    return this.#find(projectId, id)
  }

  async changeServer(projectId: string, id: string, change: ServerChange):
      Promise<Server> {
    return this.#put(this.#find(projectId, id), change)
  }

  async mergeMetadata(projectId: string, id: string, metadata: Metadata, quota: number):
      Promise<Server> {
    const server = this.#find(projectId, id)
    const merged = [...new Map([...server.metadata, ...metadata])]
    if (merged.length <= quota) return this.#put(server, { metadata: merged })
    throw new QuotaError(`Maximum number of metadata items exceeds ${quota}`)
  }

  async dropMetadata(projectId: string, id: string, key: string): Promise<void> {
    const server = this.#find(projectId, id)
    const metadata = server.metadata.filter(([name]) => name !== key)
    if (metadata.length === server.metadata.length) {
      throw new NotFound('Metadata item was not found')
    }
    this.#put(server, { metadata })
  }

  async act(projectId: string, id: string, action: ServerAction): Promise<void> {
    const server = this.#find(projectId, id)
    const { from, to, task } = TRANSITIONS[action]
    const isBusy = from.includes(server.vmState) && server.taskState !== null
    if (isBusy || !from.includes(server.vmState)) {
      const state = isBusy ? `task_state ${server.taskState}` : `vm_state ${server.vmState}`
      const [method] = action.split('_')
      throw new Conflict(`Cannot '${method}' instance ${id} while it is in ${state}`)
    }
    this.#put(server, task ? { taskState: task } : { vmState: to })
    if (task) this.#compute.reboot((change) => this.#update(id, change))
  }

  async deleteServer(projectId: string, id: string): Promise<void> {
    this.#servers.delete(this.#find(projectId, id).id)
  }

  async addKeypair(userId: string, keypair: Keypair, quota: number): Promise<void> {
    const { name } = keypair
    const mine = this.#keypairs.get(userId) ?? new Map<string, Keypair>()
    if (mine.has(name)) throw new Conflict(`Key pair '${name}' already exists.`)
    if (mine.size >= quota) throw new QuotaError('Quota exceeded, too many key pairs.')
    this.#keypairs.set(userId, mine.set(name, keypair))
  }

  async keypairs(userId: string): Promise<Keypair[]> {
    return [...this.#keypairs.get(userId)?.values() ?? []]
  }

  async keypair(userId: string, name: string): Promise<Keypair> {
    const found = this.#keypairs.get(userId)?.get(name)
    if (found) return found
    throw new NotFound(`Keypair ${name} not found for user ${userId}`)
  }

  async dropKeypair(userId: string, name: string): Promise<void> {
    await this.keypair(userId, name)
    this.#keypairs.get(userId)?.delete(name)
  }

  #of(projectId: string): Server[] {
    return [...this.#servers.values()].filter((server) => server.projectId === projectId)
  }

  #find(projectId: string, id: string): Server {
    const server = this.#servers.get(id)
    if (server?.projectId === projectId) return server
    throw new NotFound(`Instance ${id} could not be found.`)
  }

  #put(server: Server, change: Partial<Server>): Server {
    const next = { ...server, ...change, updated: Date.now() }
    this.#servers.set(server.id, next)
    return next
  }

  // For the compute service: by the time it is done, the server may be gone.
  #update(id: string, change: Partial<Server>): void {
    const server = this.#servers.get(id)
    if (server) this.#put(server, change)
  }
}

function summary(server: Server): ServerSummary {
  const { id, name, flavorId, imageId, vmState, taskState } = server
  return { id, name, flavorId, imageId, vmState, taskState }
}

// 10.0.0.4 and up: the first four are the network's own.
function address(n: number): string {
  const host = (n + 4) % 2 ** 24
  return `10.${host >> 16}.${host >> 8 & 255}.${host & 255}`
}

const macAddress = (): string =>
  ['fa', '16', '3e', ...randomBytes(3).toString('hex').match(/../g) ?? []].join(':')
