import type { Cluster, Redis } from 'ioredis'
import { makeClient } from './connection.ts'
import type { ResolvedRedisOptions } from './options.ts'

/** The connection on which sleeping members are told of work. Only a hint: whoever depends on it looks by itself as well. */
export class WakeCalls {
  readonly #options: ResolvedRedisOptions
  readonly #onError: (error: Error) => void
  readonly #sleepers = new Map<string, Set<() => void>>()
  #client: Redis | Cluster | undefined

  constructor(options: ResolvedRedisOptions, onError: (error: Error) => void) {
    this.#options = options
    this.#onError = onError
  }

  on(channel: string, wake: () => void): () => void {
    const client = (this.#client ??= this.#open())
    let wakes = this.#sleepers.get(channel)
    if (wakes === undefined) {
      this.#sleepers.set(channel, (wakes = new Set()))
      this.#subscribe(client, channel)
    }
    wakes.add(wake)
    return () => {
      wakes.delete(wake)
      if (wakes.size > 0 || !this.#sleepers.delete(channel)) return
      void client.unsubscribe(channel).catch(() => {})
    }
  }

  /** False while members are not told and have to look. */
  get connected(): boolean {
    return this.#client === undefined || this.#client.status === 'ready'
  }

  close(): void {
    this.#client?.disconnect()
  }

  #open(): Redis | Cluster {
    const client = makeClient(this.#options, { patient: true }, this.#onError)
    client.on('message', (channel: string) => this.#wake(channel))
    client.on('ready', () => {
      for (const channel of this.#sleepers.keys()) this.#subscribe(client, channel)
    })
    return client
  }

  /** Whoever sleeps looks once it is heard: what was told before was told to nobody. */
  #subscribe(client: Redis | Cluster, channel: string): void {
    void client.subscribe(channel).then(
      () => this.#wake(channel),
      () => {},
    )
  }

  #wake(channel: string): void {
    for (const wake of this.#sleepers.get(channel) ?? []) wake()
  }
}
