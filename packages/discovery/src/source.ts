import { backgroundPause, backgroundTimeout, jittered, orAborted } from '@platform/kernel'
import type { DiscoveryEvents } from './events.ts'
import { HeldInstances } from './held-instances.ts'
import { instruments } from './instrumentation.ts'
import { type Instance, instanceKey, isUsable, type ReadResult, type RegistryConnection } from './registry.ts'

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 10_000
/** Reads that may follow each other at once; then one per second, so that a busy index does not become a flood. */
const BURST = 5
const REFILL_MS = 1000

interface SourceOptions {
  service: string
  registry: string
  connection: RegistryConnection
  emptyConfirmMs: number
  events: DiscoveryEvents
  onUpdate(): void
}

/** Follows one service in one registry, for as long as it is open and whatever happens. */
export class Source {
  /** Undefined until the first answer. */
  instances: readonly Instance[] | undefined
  /** Why the last read failed; undefined while the registry answers. */
  failure: unknown
  readonly #options: SourceOptions
  readonly #held: HeldInstances
  readonly #closing = new AbortController()
  /** Ends the read that waits, for one that answers at once. */
  #again = new AbortController()
  #release: NodeJS.Timeout | undefined
  #unusable = 0
  #tokens = BURST
  #pacedAt: number = performance.now()

  constructor(options: SourceOptions) {
    this.#options = options
    const { emptyConfirmMs, connection } = options
    this.#held = new HeldInstances(emptyConfirmMs === 0 ? 0 : Math.max(emptyConfirmMs, connection.confirmMs ?? 0))
    void this.#follow()
  }

  close(): void {
    clearTimeout(this.#release)
    this.#closing.abort()
  }

  async #follow(): Promise<void> {
    const closing = this.#closing.signal
    const { service, registry, events } = this.#options
    let cursor: string | undefined
    let failures = 0
    while (!closing.aborted) {
      await this.#pace()
      if (this.#again.signal.aborted) {
        this.#again = new AbortController()
        cursor = undefined
      }
      try {
        const result = await this.#read(cursor)
        if (closing.aborted) return
        const wasLost = failures > 0
        failures = 0
        this.failure = undefined
        if (wasLost) events.emit({ type: 'registry-back', service, registry })
        cursor = result.cursor
        this.#take(result, wasLost)
      } catch (error) {
        if (closing.aborted) return
        if (this.#again.signal.aborted) continue
        instruments().watchFailures.add(1, { registry, service })
        if (failures++ === 0) events.emit({ type: 'registry-lost', service, registry, error })
        // A registry that was restarted counts from the beginning, so nothing is remembered of where we were.
        cursor = undefined
        this.failure = error
        this.#options.onUpdate()
        await backgroundPause(jittered(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10))), closing)
      }
    }
  }

  /** A connection that went silent gives no error, so every read has an end. */
  async #read(cursor: string | undefined): Promise<ReadResult> {
    const { connection, service } = this.#options
    const { readTimeoutMs } = connection
    const limit = readTimeoutMs === undefined ? [] : [AbortSignal.timeout(Math.ceil(readTimeoutMs))]
    const signal = AbortSignal.any([this.#closing.signal, this.#again.signal, ...limit])
    return orAborted(connection.read(service, { cursor, signal }), signal)
  }

  #take({ instances: entries, outOfService }: ReadResult, wasLost: boolean): void {
    const { service, registry, events } = this.#options
    const next = entries.filter(isUsable)
    const unusable = entries.length - next.length
    if (unusable > 0 && unusable !== this.#unusable) events.emit({ type: 'entries-unusable', service, registry, entries: unusable })
    this.#unusable = unusable
    const known = (this.instances ?? []).filter(({ id }) => outOfService?.has(id) !== true)
    if (outOfService !== undefined) this.#held.forget(outOfService)
    const { instances, held } = this.#held.merge(known, next, wasLost, performance.now())
    if (held > 0) events.emit({ type: 'removal-held', service, registry, instances: held })
    this.#publish(instances)
  }

  #publish(instances: readonly Instance[]): void {
    this.instances = normalized(instances)
    this.#askAgainLater()
    this.#options.onUpdate()
  }

  /** What is held is let go by an answer, not by the time: the last one may be old, and a watch may be silent. */
  #askAgainLater(): void {
    clearTimeout(this.#release)
    const { until } = this.#held
    if (until === undefined) return
    this.#release = backgroundTimeout(
      () => {
        if (this.failure === undefined) this.#again.abort()
      },
      Math.max(1, Math.ceil(until - performance.now())),
    )
  }

  async #pace(): Promise<void> {
    const now = performance.now()
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#pacedAt) / REFILL_MS)
    this.#pacedAt = now
    if (--this.#tokens < 0) await backgroundPause(-this.#tokens * REFILL_MS, this.#closing.signal)
  }
}

/** Frozen and in a fixed order, so that equal sets look equal. */
function normalized(instances: readonly Instance[]): readonly Instance[] {
  const sorted = instances.map((instance) => (Object.isFrozen(instance) ? instance : Object.freeze({ ...instance })))
  return Object.freeze(sorted.sort((a, b) => (instanceKey(a) < instanceKey(b) ? -1 : 1)))
}
