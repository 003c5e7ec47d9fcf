import { hash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { memoryRateLimiter, type RateDecision } from '@platform/resilience'
import type { Redis } from 'ioredis'
import { redisRateLimiter } from '@platform/resilience/redis'
import type { RateLimit, Route } from '../gateway-file.ts'
import type { RedisLike } from '../options.ts'
import { andThen } from './and-then.ts'
import { Leases } from './leases.ts'

export interface LimitVerdict {
  readonly allowed: boolean
  /** `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers. */
  readonly rateLimit: string
  readonly policy: string
  readonly retryAfterSeconds: number
}

/** The limit of one route, shared by all gateways on one Redis; without Redis, of this process. */
export class Limit {
  readonly by: RateLimit['by']
  readonly #acquire: (who: string) => RateDecision | Promise<RateDecision>
  readonly #policy: string
  readonly #route: string

  constructor(route: Route, limit: RateLimit, client: RedisLike | undefined) {
    const { requests, periodMs, burst = requests, by } = limit
    this.by = by
    // Another limit counts under other keys.
    const prefix = `gateway:${route.name}:${by}:${requests}/${periodMs}/${burst}:`
    this.#acquire = acquireOf(limit, prefix, client)
    const window = periodMs % 1000 === 0 ? `;w=${periodMs / 1000}` : ''
    this.#policy = `"${route.name}";q=${requests}${window}`
    this.#route = route.name
  }

  take(who: string): LimitVerdict | Promise<LimitVerdict> {
    return andThen(this.#acquire(who), (decision) => this.#told(decision))
  }

  /** Fills the script cache and the connection. */
  async warm(): Promise<void> {
    await this.#acquire('warm-up')
  }

  #told({ allowed, remaining, retryAfterMs }: RateDecision): LimitVerdict {
    const retryAfterSeconds = Math.max(1, Math.ceil(retryAfterMs / 1000))
    const reset = allowed ? '' : `;t=${retryAfterSeconds}`
    const rateLimit = `"${this.#route}";r=${Math.max(0, Math.floor(remaining))}${reset}`
    return { allowed, rateLimit, policy: this.#policy, retryAfterSeconds }
  }
}

function acquireOf(limit: RateLimit, prefix: string, client: RedisLike | undefined): (who: string) => RateDecision | Promise<RateDecision> {
  const { requests, periodMs, burst = requests, whenRedisIsDown } = limit
  if (client === undefined) {
    const own = memoryRateLimiter({ limit: requests, periodMs, burst })
    return (who) => own.acquire(who)
  }
  const shared = { client: client as Redis, limit: requests, periodMs, burst, whenDown: whenRedisIsDown, timeoutMs: 100, prefix }
  const leases = new Leases(redisRateLimiter(shared))
  return (who) => leases.acquire(who)
}

/** Short, and nobody's name in Redis. Of an IPv6 address the network: one host has as many addresses as it likes. */
export function consumerKey(kind: string, name: string): string {
  return hash('sha256', `${kind}\0${name}`, 'base64url').slice(0, 22)
}

export function addressKey(address: string): string {
  if (!isIPv6(address)) return consumerKey('ip', address)
  const groups = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail = ''] = groups.split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === '' ? [] : tail.split(':')
  const all = groups.includes('::') ? [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last] : first
  return consumerKey('ip', all.slice(0, 4).join(':'))
}
