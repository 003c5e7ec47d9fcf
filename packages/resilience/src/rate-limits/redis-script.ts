import { createHash } from 'node:crypto'

/** What a Redis client must have here, as ioredis does. */
export interface ScriptClient {
  evalsha(sha: string, keys: number, ...args: (string | number)[]): Promise<unknown>
  del(key: string): Promise<unknown>
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

/** What both scripts read: the time at which the allowance is whole again and, after a penalty, its end and its length. */
const READ = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local unit, tolerance, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first, second, third = string.match(redis.call('GET', KEYS[1]) or '0', '^(%S+) ?(%S*) ?(%S*)$')
local full, rest, length = tonumber(first) or 0, tonumber(second) or 0, tonumber(third) or 0
rest = math.min(rest, now + length)
full = math.min(math.max(full, now), math.max(now, rest) + tolerance + longest)
local function write()
  local value = string.format('%.17g', full)
  if rest > now then value = value .. string.format(' %.17g %.17g', rest, length) end
  redis.call('SET', KEYS[1], value, 'PX', math.max(1, math.ceil((full - now) / 1000)))
end
`

/**
 * GCRA: the key holds the time, on the server's clock in microseconds, at which the allowance is whole again. A server whose
 * clock was set back, or a replica with a slower one, cannot make a key wait longer than its allowance takes to fill and turns are waited for.
 * ARGV: microseconds per unit of cost, tolerance and longest wait in microseconds, cost. A negative cost gives back.
 * Reply: allowed, remaining, microseconds to wait.
 */
export const GCRA: string = `${READ}
local cost = tonumber(ARGV[4])
local after = full + cost * unit
local wait = after - tolerance - now
local allowed = wait <= longest + 0.001
if allowed then
  full = after
  write()
end
return { allowed and 1 or 0, math.max(0, math.floor((tolerance - (full - now)) / unit + 1e-9)), math.max(0, math.ceil(wait - 0.001)) }
`

/** ARGV: as for GCRA, then the penalty in microseconds. */
export const PENALTY: string = `${READ}
local penalty = tonumber(ARGV[4])
if now + penalty > rest then
  rest, length = now + penalty, penalty
  full = math.max(full, rest + tolerance - unit)
end
write()
return 1
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
