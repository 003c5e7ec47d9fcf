import type { KeyedRateLimiter } from '@platform/resilience'
import { describe, expect, it } from 'vitest'
import { Leases } from './leases.ts'

/** A limit that several gateways share, on a clock that the test moves: GCRA as Redis does it. */
function sharedLimit(perSecond: number, burst: number) {
  const [unit, tolerance] = [1_000 / perSecond, (1_000 / perSecond) * burst]
  const fullAt = new Map<string, number>()
  const clock = { now: 0 }
  let asked = 0
  const limiter = {
    async acquire(key: string, { cost = 1 }: { cost?: number | undefined } = {}) {
      asked++
      const from = Math.max(clock.now, fullAt.get(key) ?? 0)
      const next = from + cost * unit
      const allowed = next - tolerance <= clock.now + 1e-9
      if (allowed) fullAt.set(key, next)
      const remaining = Math.max(0, Math.floor((tolerance - ((allowed ? next : from) - clock.now)) / unit + 1e-9))
      return { allowed, remaining, retryAfterMs: allowed ? 0 : next - tolerance - clock.now }
    },
  } as KeyedRateLimiter
  const gateway = () => new Leases(limiter, () => clock.now)
  return { gateway, clock, limiter, asked: () => asked, empty: () => fullAt.clear() }
}

/** Requests at a steady pace; each goes to the gateway that `of` names. */
async function offered(
  { clock }: { clock: { now: number } },
  gateways: readonly Leases[],
  { perSecond, forMs, of }: { perSecond: number; forMs: number; of: (index: number) => number },
) {
  let passed = 0
  const count = (perSecond * forMs) / 1_000
  for (let index = 0; index < count; index++) {
    clock.now += 1_000 / perSecond
    if ((await gateways[of(index)]!.acquire('somebody')).allowed) passed++
  }
  return { passed, count }
}

describe('turns taken ahead', () => {
  it.each([
    ['evenly', (index: number) => index % 2],
    ['nine to one', (index: number) => Number(index % 10 === 0)],
    ['by turns of a second', (index: number) => Math.floor(index / 3_000) % 2],
  ])('keep a limit to two percent over two gateways, offered three times as much %s', async (_how, of) => {
    const limit = sharedLimit(1_000, 1_000)
    const forMs = 20_000
    const { passed } = await offered(limit, [limit.gateway(), limit.gateway()], { perSecond: 3_000, forMs, of })
    const allowed = 1_000 + (1_000 * forMs) / 1_000
    expect(passed / allowed).toBeLessThanOrEqual(1)
    expect(passed / allowed).toBeGreaterThan(0.98)
  })

  it('refuse nobody who stays within the limit, and spare most questions', async () => {
    const limit = sharedLimit(1_000, 1_000)
    const { passed, count } = await offered(limit, [limit.gateway(), limit.gateway()], {
      perSecond: 950,
      forMs: 20_000,
      of: (index) => index % 2,
    })
    expect(passed).toBe(count)
    expect(limit.asked()).toBeLessThan(count / 3)
  })

  it('are none where little is left: a small limit is exact, whoever asks', async () => {
    const limit = sharedLimit(1, 20)
    const gateways = [limit.gateway(), limit.gateway()]
    const decisions = await Promise.all(Array.from({ length: 60 }, async (_, index) => gateways[index % 2]!.acquire('somebody')))
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(20)
    expect(Math.min(...decisions.map(({ remaining }) => remaining))).toBe(0)
  })

  it('ask nothing for whoever was refused until the time that was told, and at least once a second', async () => {
    const limit = sharedLimit(10, 1)
    const gateway = limit.gateway()
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: true })
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: false, retryAfterMs: 100 })
    const before = limit.asked()
    limit.clock.now = 99
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: false, retryAfterMs: 1 })
    expect(limit.asked()).toBe(before)
    limit.clock.now = 100
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: true })

    const slow = sharedLimit(1 / 3_600, 1)
    const patient = slow.gateway()
    for (let second = 0; second < 10; second++) {
      for (let ask = 0; ask < 100; ask++) await patient.acquire('somebody')
      slow.clock.now += 1_000
    }
    expect(slow.asked()).toBeLessThanOrEqual(11)
  })

  it('that nobody used in time are given up, and others are taken after a pause', async () => {
    const limit = sharedLimit(10_000, 10_000)
    const gateway = limit.gateway()
    for (let pause = 0; pause < 3; pause++) {
      const before = limit.asked()
      for (let request = 0; request < 100; request++) {
        limit.clock.now += 10
        expect(await gateway.acquire('somebody')).toMatchObject({ allowed: true })
      }
      expect(limit.asked() - before).toBeLessThan(15)
      limit.clock.now += 60_000
    }
  })

  it('are taken once for all who come meanwhile, however slow Redis is', async () => {
    const limit = sharedLimit(10_000, 10_000)
    const slow = {
      ...limit.limiter,
      async acquire(...args: Parameters<KeyedRateLimiter['acquire']>) {
        const decision = await limit.limiter.acquire(...args)
        for (let turn = 0; turn < 50; turn++) await Promise.resolve()
        return decision
      },
    }
    const gateway = new Leases(slow, () => limit.clock.now)
    const asking: Promise<{ allowed: boolean }>[] = []
    for (let round = 0; round < 200; round++) {
      limit.clock.now += 1
      for (let each = 0; each < 5; each++) {
        asking.push((async () => gateway.acquire('somebody'))())
        for (let turn = 0; turn < 2; turn++) await Promise.resolve()
      }
    }
    const decisions = await Promise.all(asking)
    expect(decisions.every(({ allowed }) => allowed)).toBe(true)
    expect(limit.asked()).toBeLessThan(decisions.length / 4)
    // Besides what they took, at most one percent is held.
    const { remaining } = await limit.limiter.acquire('somebody', { cost: 0 })
    expect(remaining).toBeGreaterThanOrEqual(10_000 - decisions.length - 200)
  })

  it('are asked for again within a second of a refusal: Redis may have been emptied', async () => {
    const limit = sharedLimit(0.1, 1)
    const gateway = limit.gateway()
    await gateway.acquire('somebody')
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: false, retryAfterMs: 10_000 })
    limit.empty()
    limit.clock.now += 999
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: false, retryAfterMs: 9_001 })
    limit.clock.now += 1
    expect(await gateway.acquire('somebody')).toMatchObject({ allowed: true })
  })
})
