import { createHash } from 'node:crypto'

/** What a Redis client must have here, as ioredis does. */
export interface ScriptClient {
  evalsha(sha: string, keys: number, ...args: (string | number)[]): Promise<unknown>
  eval(script: string, keys: number, ...args: (string | number)[]): Promise<unknown>
}

export class Script {
  readonly #text: string
  readonly #sha: string

  constructor(text: string) {
    this.#text = text
    this.#sha = createHash('sha1').update(text).digest('hex')
  }

  async run(client: ScriptClient, key: string, ...args: (string | number)[]): Promise<unknown> {
    try {
      return await client.evalsha(this.#sha, 1, key, ...args)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return client.eval(this.#text, 1, key, ...args)
    }
  }
}

/**
 * GCRA: the key holds the time, on the server's clock in microseconds, at which the allowance is whole again. A server whose
 * clock was set back, or a replica with a slower one, cannot make a key wait longer than its allowance takes to fill.
 * ARGV: microseconds per unit of cost, tolerance in microseconds, cost. Reply: allowed, remaining, microseconds to wait.
 */
export const GCRA = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local unit, tolerance, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
full = math.min(math.max(full, now), now + tolerance)
local after = full + cost * unit
local wait = after - tolerance - now
local allowed = wait <= 0.001
if allowed then
  full = after
  redis.call('SET', KEYS[1], string.format('%.17g', full), 'PX', math.max(1, math.ceil((full - now) / 1000)))
end
return { allowed and 1 or 0, math.max(0, math.floor((tolerance - (full - now)) / unit + 1e-9)), allowed and 0 or math.ceil(wait) }
`

/** How many processes share the limit: each says that it is there every few seconds. ARGV: id, life in milliseconds. Reply: their number. */
export const PRESENCE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
`
