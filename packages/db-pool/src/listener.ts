import { backgroundTimeout, backoffMs, guarded, isStorableText, orAborted, pause, settlesWithin, withDeadline } from '@platform/kernel'
import pg from 'pg'
import { DbPoolError, sqlState } from './errors.ts'
import { type Cancellable, invalid, mustHaveSessions } from './options.ts'
import type { ConnectionPool } from './pool.ts'

interface Subscriber {
  readonly onMessage: (payload: string) => void
  readonly onGap: (() => void) | undefined
  /** Has been told that it is subscribed: from then on a loss is a gap. */
  live: boolean
}

const keepaliveTimeoutMs = 5_000
const reconnect = { initialDelayMs: 50, maxDelayMs: 5_000 }

/**
 * One connection for all channels, kept up while anybody listens. A single loop owns it: connect, LISTEN to what is wanted, UNLISTEN
 * what is not, check that it lives, and after a loss begin again. Callers only change what is wanted and wake the loop.
 */
export class Listener {
  readonly #pool: ConnectionPool
  readonly #wanted = new Map<string, Set<Subscriber>>()
  readonly #active = new Set<string>()
  readonly #stop = new AbortController()
  #changed: { promise: Promise<void>; resolve(): void } = Promise.withResolvers<void>()
  #subscribed: { promise: Promise<void>; resolve(): void } = Promise.withResolvers<void>()
  #loop: Promise<void> | undefined
  #lastError: unknown

  constructor(pool: ConnectionPool) {
    this.#pool = pool
  }

  async listen(
    channel: string,
    onMessage: (payload: string) => void,
    onGap: (() => void) | undefined,
    options?: Cancellable,
  ): Promise<() => Promise<void>> {
    // The server cuts longer names silently, and the notification would then carry another name.
    if (channel === '' || Buffer.byteLength(channel) > 63 || !isStorableText(channel))
      throw invalid('channel', 'must be Unicode of 1 to 63 bytes')
    mustHaveSessions(this.#pool.options, 'channels')
    options?.signal?.throwIfAborted()
    const subscriber: Subscriber = { onMessage, onGap, live: false }
    const subscribers = this.#wanted.get(channel) ?? new Set()
    this.#wanted.set(channel, subscribers.add(subscriber))
    const unsubscribe = async (): Promise<void> => {
      const current = this.#wanted.get(channel)
      if (!current?.delete(subscriber)) return
      if (current.size === 0) this.#wanted.delete(channel)
      this.#wake()
      while (this.#active.has(channel) && !this.#wanted.has(channel) && this.#loop !== undefined) await this.#subscribed.promise
    }
    this.#wake()
    const { acquireTimeoutMs } = this.#pool.options
    const tooLate = (): DbPoolError =>
      new DbPoolError('ERR_DB_POOL_ACQUIRE_TIMEOUT', `no connection to listen on within ${acquireTimeoutMs} ms`, {
        cause: this.#lastError,
        waitedMs: acquireTimeoutMs,
      })
    try {
      await withDeadline(acquireTimeoutMs, tooLate, (signal) => this.#untilActive(channel, signal), options?.signal)
    } catch (error) {
      void unsubscribe()
      throw error
    }
    subscriber.live = true
    return unsubscribe
  }

  async #untilActive(channel: string, signal: AbortSignal): Promise<void> {
    while (!this.#active.has(channel)) {
      if (this.#stop.signal.aborted) throw this.#stop.signal.reason
      await orAborted(this.#subscribed.promise, signal)
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(new DbPoolError('ERR_DB_POOL_CLOSED', 'the pool is closed'))
    this.#changed.resolve()
    await this.#loop
    this.#subscribed.resolve()
  }

  #wake(): void {
    this.#changed.resolve()
    if (this.#stop.signal.aborted) return
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined
      this.#announce()
      if (this.#wanted.size > 0) this.#wake()
    })
  }

  #announce(): void {
    this.#subscribed.resolve()
    this.#subscribed = Promise.withResolvers<void>()
  }

  /** Ends when nobody listens any more, or at close. */
  async #run(): Promise<void> {
    const { signal } = this.#stop
    for (let attempt = 0; this.#wanted.size > 0 && !signal.aborted; attempt++) {
      let client: pg.Client | undefined
      const state: { lost: Error | undefined } = { lost: undefined }
      const onLoss = (error: Error): void => {
        state.lost ??= error
        this.#changed.resolve()
      }
      try {
        client = await this.#pool.connect(signal)
        client.on('error', onLoss)
        client.once('end', () => onLoss(new Error('the server closed the connection')))
        client.on('notification', ({ channel, payload }) => this.#dispatch(channel, payload ?? ''))
        await this.#serve(client, state, () => {
          attempt = 0
        })
      } catch (error) {
        this.#lastError = error
        if (!signal.aborted) this.#pool.logger.warn({ err: error, sqlState: sqlState(error) }, 'listening was interrupted')
      } finally {
        // What it still says belongs to nobody: whoever listens from now on is served by the next one.
        client?.removeAllListeners('notification')
        this.#active.clear()
        this.#announce()
        if (client !== undefined) await endClient(client)
      }
      if (this.#wanted.size === 0 || signal.aborted) return
      await pause(backoffMs(attempt + 1, reconnect.initialDelayMs, reconnect.maxDelayMs), signal).catch(() => {})
    }
  }

  async #serve(client: pg.Client, state: { lost: Error | undefined }, onServing: () => void): Promise<void> {
    const { signal } = this.#stop
    let first = true
    let lastCheck = performance.now()
    while (this.#wanted.size > 0 && !signal.aborted) {
      this.#changed = Promise.withResolvers<void>()
      if (state.lost !== undefined) throw state.lost
      for (const channel of [...this.#wanted.keys()].filter((name) => !this.#active.has(name))) {
        await this.#send(client, `listen ${pg.escapeIdentifier(channel)}`)
        this.#active.add(channel)
      }
      for (const channel of [...this.#active].filter((name) => !this.#wanted.has(name))) {
        await this.#send(client, `unlisten ${pg.escapeIdentifier(channel)}`)
        this.#active.delete(channel)
      }
      onServing()
      if (first) this.#reportGap()
      first = false
      this.#announce()
      const timer = Promise.withResolvers<void>()
      const dueMs = Math.max(0, lastCheck + this.#pool.options.keepaliveIntervalMs - performance.now())
      const handle = backgroundTimeout(() => timer.resolve(), dueMs)
      await Promise.race([this.#changed.promise, timer.promise])
      clearTimeout(handle)
      if (state.lost !== undefined) throw state.lost
      if (performance.now() - lastCheck >= this.#pool.options.keepaliveIntervalMs) {
        await this.#send(client, 'select 1')
        lastCheck = performance.now()
      }
    }
  }

  async #send(client: pg.Client, text: string): Promise<void> {
    const answer = client.query(text)
    answer.catch(() => {})
    if (!(await settlesWithin(orAborted(answer, this.#stop.signal), keepaliveTimeoutMs)))
      throw new Error('the server does not answer on the connection that listens')
    this.#stop.signal.throwIfAborted()
    await answer
  }

  #dispatch(channel: string, payload: string): void {
    for (const subscriber of this.#wanted.get(channel) ?? []) this.#call(() => subscriber.onMessage(payload))
  }

  #reportGap(): void {
    for (const subscribers of this.#wanted.values()) {
      for (const subscriber of subscribers) if (subscriber.live) this.#call(() => subscriber.onGap?.())
    }
  }

  /** It may be asynchronous: a rejection is told as well. */
  #call(run: () => void | Promise<void>): void {
    void guarded(run, (error) => this.#pool.logger.error({ err: error }, 'a listener failed'))
  }
}

async function endClient(client: pg.Client): Promise<void> {
  const ended = client.end()
  if (!(await settlesWithin(ended, 1_000))) client.connection.stream.destroy()
}
