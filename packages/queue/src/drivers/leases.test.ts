import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Connections } from './postgres/connection.ts'
import { Leases as PostgresLeases } from './postgres/leases.ts'
import type { Connection } from './redis/connection.ts'
import { Leases as RedisLeases } from './redis/leases.ts'

const leaseMs = 10_000

/** A server that is away for a while and lets a lease run out by its own clock. */
function server(): { renew(): Promise<boolean>; awayUntil: number } {
  let until = performance.now() + leaseMs
  const made = {
    awayUntil: 0,
    async renew(): Promise<boolean> {
      const now = performance.now()
      if (now < made.awayUntil) throw new Error('not connected')
      if (now >= until) return false
      until = now + leaseMs
      return true
    },
  }
  return made
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it.each<[string, (renew: () => Promise<boolean>) => AbortSignal]>([
  [
    'redis',
    (renew) => {
      const connection = { run: async () => [(await renew()) ? 1 : 0] } as unknown as Connection
      const leases = new RedisLeases(connection, { base: 'base', group: 'g', member: 'm' })
      const delivery = { entry: '1-0', number: '1', deliveries: 1, begun: 0, shown: 0, suspect: false }
      return leases.hold(delivery, performance.now()).lost.signal
    },
  ],
  [
    'postgres',
    (renew) => {
      const connections = { query: async () => ({ rows: (await renew()) ? [{ id: 'row' }] : [] }) } as unknown as Connections
      const leases = new PostgresLeases(connections, 'schema', 'queue', () => {})
      return leases.hold('row', 0, { counted: 0, shown: 0 }, performance.now()).lost.signal
    },
  ],
])('%s: what a member holds is kept when the server is back before the lease ends, whenever that is', async (_driver, hold) => {
  const startedAt = performance.now()
  const away = server()
  const lost = hold(away.renew)
  for (const [from, ms] of [
    [1_000, 8_000],
    [15_000, 6_500],
    [29_000, 6_500],
  ] as const) {
    await vi.advanceTimersByTimeAsync(startedAt + from - performance.now())
    away.awayUntil = performance.now() + ms
    await vi.advanceTimersByTimeAsync(ms)
  }
  await vi.advanceTimersByTimeAsync(60_000)
  expect(lost.aborted).toBe(false)
})
