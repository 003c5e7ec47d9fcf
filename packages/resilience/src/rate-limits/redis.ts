import { randomUUID } from 'node:crypto'
import { choiceOption, durationOption, knownOptions, numberOption, pause } from '@platform/kernel'
import type { Cluster, Redis } from 'ioredis'
import { refuseOption as refuse } from '../errors.ts'
import { eventLoop } from '../event-loop.ts'
import { ATTRIBUTE_MODE, instruments } from '../instrumentation.ts'
import type { KeyedRateLimiter, RateDecision, RateLimiter } from '../rate-limit.ts'
import { type Verdict, verdictOfError } from '../verdict.ts'
import { LONGEST_PENALTY_MS, memoryRateLimiter } from './memory.ts'
import { GCRA, PENALTY, PRESENCE, Script, type ScriptClient } from './redis-script.ts'

export interface RedisRateLimiterOptions {
  /** Stays the caller's: it is never closed here. */
  client: Redis | Cluster
  /** Calls per period of all processes together, at least 1. */
  limit: number
  /** At least 1. */
  periodMs: number
  /** Calls that may come at once after a pause, at least 1. Default: `limit`. */
  burst?: number | undefined
  /** While Redis gives no answer: 'open' lets all calls through, 'closed' none, 'local-share' this process's part of the limit. */
  whenDown: 'open' | 'closed' | 'local-share'
  /** A decision takes no longer: then `whenDown` decides. Default 100. */
  timeoutMs?: number | undefined
  /** Processes that share the limit, for 'local-share'. Default: as many as were seen in Redis lately. */
  instances?: number | undefined
  /** How long a call may wait for its turn. Default 0: it is refused. */
  maxWaitMs?: number | undefined
  /** Of the keys in Redis. Limiters with the same prefix must have the same limit. Default 'rate:'. */
  prefix?: string | undefined
}

/** After a failure one call in so many milliseconds asks Redis again; the others are decided at once. For the want of a connection it ends with that. */
const RETRY_MS = 500
const PRESENCE_EVERY_MS = 5000
const PRESENCE_LIFE_MS = 15_000
const known = ['client', 'limit', 'periodMs', 'burst', 'whenDown', 'timeoutMs', 'instances', 'maxWaitMs', 'prefix']
const disconnected = new Set(['reconnecting', 'close', 'end', 'disconnecting'])

/** GCRA shared by processes: one Lua call a decision, on the clock of the Redis server. Redis 5 or newer. */
export function redisRateLimiter(options: RedisRateLimiterOptions): KeyedRateLimiter {
  knownOptions(refuse, 'redisRateLimiter', options, known)
  if (typeof options.client?.evalsha !== 'function') throw refuse('client', 'must be an ioredis client')
  if (options.prefix !== undefined && typeof options.prefix !== 'string') throw refuse('prefix', 'must be a string')
  const limit = numberOption(refuse, 'limit', options.limit, 1)
  return new RedisLimiter({
    client: options.client,
    limit,
    periodMs: numberOption(refuse, 'periodMs', options.periodMs, 1),
    burst: options.burst === undefined ? limit : numberOption(refuse, 'burst', options.burst, 1),
    whenDown: choiceOption(refuse, 'whenDown', options.whenDown, ['open', 'closed', 'local-share']),
    timeoutMs: durationOption(refuse, 'timeoutMs', options.timeoutMs ?? 100, 1),
    instances: options.instances === undefined ? undefined : numberOption(refuse, 'instances', options.instances, 1),
    maxWaitMs: durationOption(refuse, 'maxWaitMs', options.maxWaitMs ?? 0, 0),
    prefix: options.prefix ?? 'rate:',
  })
}

interface ResolvedRedisRateLimiterOptions
  extends Required<Omit<RedisRateLimiterOptions, 'burst' | 'timeoutMs' | 'instances' | 'prefix' | 'maxWaitMs'>> {
  maxWaitMs: number
  burst: number
  timeoutMs: number
  instances: number | undefined
  prefix: string
}

/** allowed, remaining, microseconds to wait. */
type Reply = readonly [number, number, number]

class RedisLimiter implements KeyedRateLimiter {
  readonly #options: ResolvedRedisRateLimiterOptions
  readonly #client: ScriptClient & { readonly status: string }
  readonly #gcra = new Script(GCRA)
  readonly #penalty = new Script(PENALTY)
  readonly #presence = new Script(PRESENCE)
  readonly #id: string = randomUUID()
  #seenInstances = 1
  #local: { instances: number; limiter: RateLimiter } | undefined
  #presentAt = Number.NEGATIVE_INFINITY
  /** 0 while Redis answers. */
  #downUntil = 0
  /** There was no connection when Redis was asked last. */
  #unconnected = false

  constructor(options: ResolvedRedisRateLimiterOptions) {
    this.#options = options
    this.#client = options.client as unknown as ScriptClient & { readonly status: string }
  }

  async acquire(
    key: string,
    {
      signal,
      cost = 1,
      maxWaitMs = this.#options.maxWaitMs,
    }: { signal?: AbortSignal | undefined; cost?: number | undefined; maxWaitMs?: number | undefined } = {},
  ): Promise<RateDecision> {
    signal?.throwIfAborted()
    numberOption(refuse, 'cost', cost, 0, this.#options.burst)
    const now = performance.now()
    const alone = (): Promise<RateDecision> => this.#decideAlone(key, { signal, cost, maxWaitMs })
    const { status } = this.#client
    if (this.#downUntil !== 0) {
      if (now < this.#downUntil && !(this.#unconnected && status === 'ready')) return alone()
      this.#downUntil = now + RETRY_MS
    }
    this.#unconnected = status !== 'ready'
    if (disconnected.has(status)) {
      this.#record('not-sent')
      return alone()
    }
    if (this.#options.whenDown === 'local-share' && this.#options.instances === undefined && now - this.#presentAt >= PRESENCE_EVERY_MS)
      this.#sayPresent(now)
    const reply = await this.#ask(key, cost, maxWaitMs, signal)
    if (reply === undefined) return alone()
    const [allowed, remaining, waitUs] = reply
    if (allowed === 1 && waitUs > 0) await this.#waitForTurn(key, cost, maxWaitMs, waitUs, signal)
    return { allowed: allowed === 1, remaining, retryAfterMs: allowed === 1 ? 0 : waitUs / 1000 }
  }

  async reset(key: string): Promise<void> {
    await this.#client.del(this.#keyOf(key))
  }

  async penalize(key: string, forMs: number): Promise<void> {
    durationOption(refuse, 'forMs', forMs, 0, LONGEST_PENALTY_MS)
    const { unitUs, toleranceUs } = this.#units()
    await this.#penalty.run(this.#client, this.#keyOf(key), unitUs, toleranceUs, this.#options.maxWaitMs * 1000, forMs * 1000)
  }

  /** The limiter's answer; undefined when there was none in time. */
  #ask(key: string, cost: number, maxWaitMs: number, signal: AbortSignal | undefined): Promise<Reply | undefined> {
    const { timeoutMs } = this.#options
    const startedAt = performance.now()
    const late = eventLoop.enter(startedAt)
    return new Promise((resolve, reject) => {
      let left = false
      const finish = (verdict: Verdict, settle: () => void): void => {
        // What comes late tells of Redis all the same.
        this.#record(verdict)
        if (left) return
        left = true
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        eventLoop.leave()
        settle()
      }
      const onAbort = (): void => finish('not-wanted', () => reject(signal?.reason as Error))
      const onTimeout = (): void => {
        const now = performance.now()
        const lateMs = eventLoop.lateMsSince(late, now)
        const leftMs = timeoutMs - (now - startedAt - lateMs)
        // The reply may lie here already: time in which this process was deaf is not Redis's.
        if (lateMs > 0 && leftMs >= 1) timer = setTimeout(onTimeout, Math.ceil(leftMs))
        else finish('timed-out', () => resolve(undefined))
      }
      let timer = setTimeout(onTimeout, timeoutMs)
      signal?.addEventListener('abort', onAbort)
      this.#decide(key, cost, maxWaitMs).then(
        (reply) => finish('answered', () => resolve(reply)),
        (error: unknown) => finish(verdictOfError(error, 0), () => resolve(undefined)),
      )
    })
  }

  #decide(key: string, cost: number, maxWaitMs: number): Promise<Reply> {
    const { unitUs, toleranceUs } = this.#units()
    return this.#gcra.run(this.#client, this.#keyOf(key), unitUs, toleranceUs, maxWaitMs * 1000, cost) as Promise<Reply>
  }

  async #waitForTurn(key: string, cost: number, maxWaitMs: number, waitUs: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await pause(Math.ceil(waitUs / 1000), signal)
    } catch (error) {
      this.#decide(key, -cost, maxWaitMs).catch(() => {})
      throw error
    }
  }

  /** Whether Redis is asked from now on. */
  #record(verdict: Verdict): void {
    if (verdict === 'answered') this.#downUntil = 0
    else if (verdict !== 'not-wanted' && verdict !== 'stalled') this.#downUntil = performance.now() + RETRY_MS
  }

  #units(): { unitUs: number; toleranceUs: number } {
    const { limit, periodMs, burst } = this.#options
    const unitUs = (periodMs * 1000) / limit
    return { unitUs, toleranceUs: unitUs * burst }
  }

  /** No key of a caller can be one of the limiter's own. */
  #keyOf(key: string): string {
    return `${this.#options.prefix}key:${key}`
  }

  async #decideAlone(
    key: string,
    { cost, ...options }: { signal: AbortSignal | undefined; cost: number; maxWaitMs: number },
  ): Promise<RateDecision> {
    const { whenDown } = this.#options
    instruments().rateLimitFallbacks.add(1, { [ATTRIBUTE_MODE]: whenDown })
    if (whenDown === 'open') return { allowed: true, remaining: 0, retryAfterMs: 0 }
    if (whenDown === 'closed') return { allowed: false, remaining: 0, retryAfterMs: Math.max(1, this.#downUntil - performance.now()) }
    const share = this.#share()
    // A call that costs more than this process's part of the burst would be refused for ever.
    return share.limiter.acquire(key, { ...options, cost: Math.min(cost, share.burst) })
  }

  #share(): { limiter: RateLimiter; burst: number } {
    const { limit, periodMs, burst, instances = this.#seenInstances } = this.#options
    const own = Math.max(1, burst / instances)
    if (this.#local?.instances !== instances) {
      // The period grows instead of the limit shrinking: a part may be less than one call.
      this.#local = { instances, limiter: memoryRateLimiter({ limit, periodMs: periodMs * instances, burst: own }) }
    }
    return { limiter: this.#local.limiter, burst: own }
  }

  #sayPresent(now: number): void {
    this.#presentAt = now
    this.#presence.run(this.#client, `${this.#options.prefix}instances`, this.#id, PRESENCE_LIFE_MS).then(
      (count) => void (this.#seenInstances = Math.max(1, Number(count))),
      // Whoever asks next tries again.
      () => void (this.#presentAt = now - PRESENCE_EVERY_MS + RETRY_MS),
    )
  }
}
