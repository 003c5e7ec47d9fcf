import { randomUUID } from 'node:crypto'
import type { Cluster, Redis } from 'ioredis'
import { ATTRIBUTE_MODE, instruments } from '../instrumentation.ts'
import { choiceOption, durationOption, invalidOption, numberOption, onlyKnown } from '../option-checks.ts'
import type { RateDecision, RateLimiter } from '../rate-limit.ts'
import { memoryRateLimiter } from './memory.ts'
import { GCRA, PRESENCE, Script, type ScriptClient } from './redis-script.ts'

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
  /** Of the keys in Redis. Limiters with the same prefix must have the same limit. Default 'rate:'. */
  prefix?: string | undefined
}

/** After a failure one call in so many milliseconds asks Redis again; the others are decided at once. */
const RETRY_MS = 500
const PRESENCE_EVERY_MS = 5000
const PRESENCE_LIFE_MS = 15_000
const known = ['client', 'limit', 'periodMs', 'burst', 'whenDown', 'timeoutMs', 'instances', 'prefix']
const disconnected = new Set(['reconnecting', 'close', 'end', 'disconnecting'])

/** GCRA shared by processes: one Lua call a decision, on the clock of the Redis server. Redis 5 or newer. */
export function redisRateLimiter(options: RedisRateLimiterOptions): RateLimiter {
  onlyKnown('redisRateLimiter', options, known)
  if (typeof options.client?.evalsha !== 'function') throw invalidOption('client', 'must be an ioredis client')
  if (options.prefix !== undefined && typeof options.prefix !== 'string') throw invalidOption('prefix', 'must be a string')
  const limit = numberOption('limit', options.limit, { min: 1 })
  return new RedisLimiter({
    client: options.client,
    limit,
    periodMs: numberOption('periodMs', options.periodMs, { min: 1 }),
    burst: options.burst === undefined ? limit : numberOption('burst', options.burst, { min: 1 }),
    whenDown: choiceOption('whenDown', options.whenDown, ['open', 'closed', 'local-share']),
    timeoutMs: durationOption('timeoutMs', options.timeoutMs ?? 100),
    instances: options.instances === undefined ? undefined : numberOption('instances', options.instances, { min: 1 }),
    prefix: options.prefix ?? 'rate:',
  })
}

interface ResolvedRedisRateLimiterOptions extends Required<Omit<RedisRateLimiterOptions, 'burst' | 'timeoutMs' | 'instances' | 'prefix'>> {
  burst: number
  timeoutMs: number
  instances: number | undefined
  prefix: string
}

class RedisLimiter implements RateLimiter {
  readonly #options: ResolvedRedisRateLimiterOptions
  readonly #client: ScriptClient & { readonly status: string }
  readonly #gcra = new Script(GCRA)
  readonly #presence = new Script(PRESENCE)
  readonly #id: string = randomUUID()
  #seenInstances = 1
  #local: { instances: number; limiter: RateLimiter } | undefined
  #presentAt = Number.NEGATIVE_INFINITY
  /** 0 while Redis answers. */
  #downUntil = 0

  constructor(options: ResolvedRedisRateLimiterOptions) {
    this.#options = options
    this.#client = options.client as unknown as ScriptClient & { readonly status: string }
  }

  async acquire(
    key: string,
    { signal, cost = 1 }: { signal?: AbortSignal | undefined; cost?: number | undefined } = {},
  ): Promise<RateDecision> {
    signal?.throwIfAborted()
    numberOption('cost', cost, { min: 0, max: this.#options.burst })
    const now = performance.now()
    if (this.#downUntil !== 0) {
      if (now < this.#downUntil) return this.#decideAlone(key, cost)
      this.#downUntil = now + RETRY_MS
    }
    if (disconnected.has(this.#client.status)) return this.#failed(key, cost)
    if (this.#options.whenDown === 'local-share' && this.#options.instances === undefined && now - this.#presentAt >= PRESENCE_EVERY_MS)
      this.#sayPresent(now)
    let reply: readonly [number, number, number]
    try {
      reply = await this.#ask(key, cost, signal)
    } catch (error) {
      if (signal?.aborted) throw error
      return this.#failed(key, cost)
    }
    this.#downUntil = 0
    const [allowed, remaining, waitUs] = reply
    return { allowed: allowed === 1, remaining, retryAfterMs: waitUs / 1000 }
  }

  #ask(key: string, cost: number, signal: AbortSignal | undefined): Promise<readonly [number, number, number]> {
    const { limit, periodMs, burst, timeoutMs, prefix } = this.#options
    const unitUs = (periodMs * 1000) / limit
    return new Promise((resolve, reject) => {
      const onAbort = (): void => finish(() => reject(signal?.reason))
      const timer = setTimeout(() => finish(() => reject(new Error(`No answer in ${timeoutMs} ms`))), timeoutMs)
      const finish = (settle: () => void): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        settle()
      }
      signal?.addEventListener('abort', onAbort)
      this.#gcra.run(this.#client, prefix + key, unitUs, unitUs * burst, cost).then(
        (reply) => finish(() => resolve(reply as [number, number, number])),
        (error: unknown) => finish(() => reject(error)),
      )
    })
  }

  #failed(key: string, cost: number): Promise<RateDecision> {
    this.#downUntil = performance.now() + RETRY_MS
    return this.#decideAlone(key, cost)
  }

  async #decideAlone(key: string, cost: number): Promise<RateDecision> {
    const { whenDown } = this.#options
    instruments().rateLimitFallbacks.add(1, { [ATTRIBUTE_MODE]: whenDown })
    if (whenDown === 'open') return { allowed: true, remaining: 0, retryAfterMs: 0 }
    if (whenDown === 'closed') return { allowed: false, remaining: 0, retryAfterMs: Math.max(1, this.#downUntil - performance.now()) }
    const share = this.#share()
    // A call that costs more than this process's part of the burst would be refused for ever.
    return share.limiter.acquire(key, { cost: Math.min(cost, share.burst) })
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
    this.#presence.run(this.#client, `${this.#options.prefix}{instances}`, this.#id, PRESENCE_LIFE_MS).then(
      (count) => void (this.#seenInstances = Math.max(1, Number(count))),
      () => {},
    )
  }
}
