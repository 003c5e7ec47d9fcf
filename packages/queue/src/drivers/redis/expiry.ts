import { backgroundPause } from '@platform/kernel'
import type { DriverContext } from '../../driver.ts'
import { looksBeforeExpiry } from '../../group-expiry.ts'
import type { Connection } from './connection.ts'
import { plain } from './faults.ts'
import { removeExpired } from './registry-scripts.ts'
import { baseKey } from './structure.ts'

/** Looks for groups without members; more often where such a group is not to stay for long. */
const [shortestLookMs, longestLookMs] = [1_000, 60_000]

/**
 * Every process looks now and then at the destinations that it publishes to or subscribes to, for groups where nobody is. The time without members
 * is summed up by the server, and by its clock: `looksBeforeExpiry` says how.
 */
export class Expiry {
  readonly #connection: Connection
  readonly #prefix: string
  readonly #context: DriverContext
  /** Destination → when it is looked at next. */
  readonly #dueAt = new Map<string, number>()
  readonly #stop = new AbortController()
  #running = false

  constructor(connection: Connection, prefix: string, context: DriverContext) {
    this.#connection = connection
    this.#prefix = prefix
    this.#context = context
  }

  watch(destination: string, expiresAfterMs?: number): void {
    if (expiresAfterMs === undefined && this.#dueAt.has(destination)) return
    this.#dueAt.set(destination, 0)
    if (!this.#running) void this.#run()
    this.#running = true
  }

  close(): void {
    this.#stop.abort()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await backgroundPause(shortestLookMs * (0.8 + Math.random() * 0.4), signal)
      const now = performance.now()
      for (const [destination, dueAt] of this.#dueAt) {
        if (signal.aborted || now < dueAt) continue
        try {
          this.#dueAt.set(destination, now + (await this.#look(destination)))
        } catch (error) {
          this.#context.logger.debug({ err: plain(error), destination }, 'groups without members could not be looked for; trying again')
        }
      }
    }
  }

  /** Resolves to the time until the next look. */
  async #look(destination: string): Promise<number> {
    const answer = await this.#connection.run(removeExpired, baseKey(this.#prefix, destination))
    const [removed, shortest] = answer as [[group: string, messages: number][], number]
    for (const [group, messages] of removed) this.#context.groupExpired({ destination, group: decodeURIComponent(group), messages })
    return shortest < 0 ? longestLookMs : Math.min(longestLookMs, Math.max(shortestLookMs, shortest / (2 * looksBeforeExpiry)))
  }
}
