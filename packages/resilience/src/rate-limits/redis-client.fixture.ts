/** A process of its own that takes what a shared limit gives for a while: URL, key, duration, offset of its wall clock. */
import { Redis } from 'ioredis'
import { redisRateLimiter } from './redis.ts'

const [url, key, durationMs, offsetMs] = process.argv.slice(2) as [string, string, string, string]
const realNow = Date.now
Date.now = () => realNow() + Number(offsetMs)

const client = new Redis(url)
const limiter = redisRateLimiter({ client, limit: 100, periodMs: 1000, burst: 20, whenDown: 'closed', timeoutMs: 10_000 })
await limiter.acquire(`${key}:warm-up`)
process.send!('ready')
await new Promise((resolve) => process.once('message', resolve))
const admittedAt: number[] = []
const ends = performance.now() + Number(durationMs)
while (performance.now() < ends) {
  const { allowed, retryAfterMs } = await limiter.acquire(key)
  // CLOCK_MONOTONIC: one clock for all processes of a machine.
  if (allowed) admittedAt.push(Number(process.hrtime.bigint() / 1000n) / 1000)
  else await new Promise((resolve) => setTimeout(resolve, Math.min(20, retryAfterMs)))
}
client.disconnect()
process.send!(admittedAt, () => process.disconnect())
