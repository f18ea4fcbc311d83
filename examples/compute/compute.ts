// nova-compute, the service that does what the API has only asked for. It is told what to
// do and never answers ("cast"): the API says 202, and the server's record says the rest.

import type { Server } from './store.ts'

/** Writes into the record of the server that the work is for. */
type Save = (change: Partial<Server>) => void

export class ComputeService {
  readonly #ms: number

  /** `ms`: how long a real hypervisor would need. */
  constructor(ms: number) { this.#ms = ms }

  build(save: Save): void {
    this.#later(() => {
      save({ vmState: 'active', taskState: null, launched: Date.now() })
    })
  }

  reboot(save: Save): void {
    this.#later(() => { save({ vmState: 'active', taskState: null }) })
  }

  // The work keeps no process alive: there is nothing left of it without the records.
  #later(work: () => void): void { setTimeout(work, this.#ms).unref() }
}
