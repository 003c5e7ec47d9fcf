import { backgroundTimeout, backoffMs } from '@platform/kernel'
import type pg from 'pg'
import type { Connections } from './connection.ts'

/** Wakes sleepers on NOTIFY. Only a hint: whoever depends on it polls as well. */
export class Listener {
  readonly #connections: Connections
  readonly #channel: string
  readonly #sleepers = new Map<string, Set<() => void>>()
  #client: pg.Client | undefined
  #timer: NodeJS.Timeout | undefined
  #failures = 0
  #running = false
  #connected = false

  constructor(connections: Connections, channel: string) {
    this.#connections = connections
    this.#channel = channel
  }

  get connected(): boolean {
    return this.#connected
  }

  on(queue: string, wake: () => void): () => void {
    let wakes = this.#sleepers.get(queue)
    if (wakes === undefined) this.#sleepers.set(queue, (wakes = new Set()))
    wakes.add(wake)
    if (!this.#running) {
      this.#running = true
      void this.#connect()
    }
    return () => {
      wakes.delete(wake)
      if (wakes.size === 0) this.#sleepers.delete(queue)
    }
  }

  async close(): Promise<void> {
    this.#running = false
    clearTimeout(this.#timer)
    await this.#client?.end().catch(() => {})
  }

  async #connect(): Promise<void> {
    const client = this.#connections.dedicated()
    this.#client = client
    let over = false
    const lost = (): void => {
      if (over) return
      over = true
      this.#connected = false
      client.end().catch(() => {})
      if (!this.#running) return
      this.#failures += 1
      this.#timer = backgroundTimeout(() => void this.#connect(), backoffMs(this.#failures, 200, 5_000))
    }
    client.on('error', lost)
    client.on('end', lost)
    client.on('notification', ({ payload = '*' }) => this.#wake(payload))
    try {
      await client.connect()
      await client.query(`listen ${this.#channel}`)
      this.#failures = 0
      this.#connected = true
      if (!this.#running) await client.end()
      // What was told while nobody listened.
      this.#wake('*')
    } catch {
      lost()
    }
  }

  #wake(payload: string): void {
    const queues = payload === '*' ? [...this.#sleepers.keys()] : payload.split(',')
    for (const queue of queues) for (const wake of this.#sleepers.get(queue) ?? []) wake()
  }
}
