import { beforeEach, describe, expect, it, vi } from 'vitest'
import { balancers, type BalancerName } from './balancer.ts'
import { Ejection, type EjectionOptions, resolveEjection } from './ejection.ts'
import type { Endpoint } from './endpoint.ts'
import { EndpointSet } from './endpoint-set.ts'
import type { Instance } from './registry.ts'

const nobody: ReadonlySet<Endpoint> = new Set()
let now = 0
beforeEach(() => {
  now = 1000
  vi.spyOn(performance, 'now').mockImplementation(() => now)
})

interface Given {
  balancer?: BalancerName
  zone?: string
  maxConcurrent?: number
  ejection?: EjectionOptions
}

function setOf(
  instances: readonly Instance[],
  { balancer = 'p2c-ewma', zone, maxConcurrent = Number.POSITIVE_INFINITY, ejection }: Given = {},
) {
  const told: string[] = []
  const set = new EndpointSet({
    balancer: balancers[balancer](),
    ejection: new Ejection(resolveEjection(ejection)),
    zone,
    maxConcurrent,
    onEjected: ({ id }) => told.push(`out ${id}`),
    onBack: ({ id }) => told.push(`back ${id}`),
    onMisdirected: ({ id }) => told.push(`stranger ${id}`),
  })
  set.follow(instances)
  return { set, told }
}

const instance = (index: number, weight?: number, zone?: string): Instance => ({
  id: `i${index}`,
  service: 's',
  address: '127.0.0.1',
  port: 4000 + index,
  ...(weight === undefined ? {} : { weight }),
  ...(zone === undefined ? {} : { meta: { zone } }),
})
const many = (count: number): Instance[] => Array.from({ length: count }, (_, index) => instance(index))

/** The shares of so many requests, each answered at once after what `takesMs` says. */
function shares(set: EndpointSet, requests: number, takesMs: (endpoint: Endpoint) => number = () => 5 + Math.random() * 5): number[] {
  const before = set.all.map(({ picks }) => picks)
  for (let request = 0; request < requests; request++) {
    now += 2
    const endpoint = set.pick(nobody)!
    endpoint.picks++
    set.record(endpoint, 'answered', takesMs(endpoint))
  }
  return set.all.map(({ picks }, index) => (picks - before[index]!) / requests)
}

describe('weights are shares', () => {
  it.each<[BalancerName, number[]]>([
    ['p2c-ewma', [9, 1]],
    ['round-robin', [9, 1]],
    ['p2c-ewma', [1, 1, 1, 1]],
    ['round-robin', [1, 2, 3, 4]],
    ['p2c-ewma', [5, 3, 1, 1, 10]],
  ])('%s, %j', (balancer, weights) => {
    const { set } = setOf(
      weights.map((weight, index) => instance(index, weight)),
      { balancer },
    )
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    shares(set, 500)
    for (const [index, share] of shares(set, 20_000).entries()) {
      expect(share / (weights[index]! / total), `weight ${weights[index]}`).toBeGreaterThan(0.5)
      expect(share / (weights[index]! / total), `weight ${weights[index]}`).toBeLessThan(1.6)
    }
  })

  it('of what a registry says that is none, each counts as 1', () => {
    const { set } = setOf([instance(0, Number.NaN), instance(1, 0), instance(2, -3), instance(3, Number.POSITIVE_INFINITY)])
    for (const share of shares(set, 4000)) expect(share).toBeGreaterThan(0.15)
  })
})

describe('a slow one of five', () => {
  it('gets less than 2 %, whatever it weighs', () => {
    for (const weight of [1, 5]) {
      const { set } = setOf([0, 1, 2, 3, 4].map((index) => instance(index, index === 0 ? weight : 1)))
      const slow = ({ instance: { id } }: Endpoint) => (id === 'i0' ? 200 : 15 + Math.random() * 10)
      shares(set, 500, slow)
      expect(shares(set, 10_000, slow)[0]).toBeLessThan(0.02)
    }
  })

  it('is not forgotten by a flap of the registry', () => {
    const five = many(5)
    const { set } = setOf(five)
    const slow = ({ instance: { id } }: Endpoint) => (id === 'i0' ? 500 : 20)
    shares(set, 200, slow)
    set.follow(five.slice(1))
    set.follow(five)
    expect(set.all[0]!.ewmaMs(now)).toBeGreaterThan(300)
  })
})

describe('a newcomer', () => {
  it('begins with a part of its share, and its slow first answer is forgiven', () => {
    const { set } = setOf(many(4))
    shares(set, 400)
    set.follow(many(5))
    now += 1
    const first = shares(set, 1000)[4]!
    expect(first).toBeGreaterThan(0)
    expect(first, 'two of ten seconds').toBeLessThan(0.15)
    now += 10_000
    expect(shares(set, 4000)[4]).toBeGreaterThan(0.14)
    set.follow(many(6))
    set.record(set.all[5]!, 'answered', 3000)
    expect(set.all[5]!.ewmaMs(now)).toBeLessThan(50)
    set.record(set.all[5]!, 'answered', 3000)
    expect(set.all[5]!.ewmaMs(now)).toBe(3000)
  })
})

describe('verdicts', () => {
  const five = () => {
    const made = setOf(many(5))
    shares(made.set, 100, () => 20)
    return { ...made, one: made.set.all[0]! }
  }

  it('of lost hedges, hasty callers and our own stalls eject nobody', () => {
    const { set, told, one } = five()
    for (let i = 0; i < 100; i++) {
      set.record(one, 'not-wanted', 15)
      set.record(one, 'too-slow', 5)
      set.record(one, 'stalled', 900)
    }
    expect([told, one.ewmaMs(now) < 30, set.reasonFor(one)]).toEqual([[], true, 'in use'])
  })

  it.each(['failed', 'not-sent', 'timed-out'] as const)('%s five times in a row ejects, for longer each time', (verdict) => {
    const { set, told, one } = five()
    for (let i = 0; i < 5; i++) set.record(one, verdict, 1)
    expect(told).toEqual(['out i0'])
    expect(set.reasonFor(one)).toBe('ejected after failures in a row')
    for (let i = 0; i < 100; i++) expect(set.pick(nobody)).not.toBe(one)
    now += 30_001
    set.pick(nobody)
    expect(told).toEqual(['out i0', 'back i0'])
    set.record(one, verdict, 1)
    expect(one.ejectedUntil - now).toBe(60_000)
  })

  it('too-slow for the usual is a failure; how long it took counts at least', () => {
    const { set, told, one } = five()
    for (let i = 0; i < 5; i++) set.record(one, 'too-slow', 300)
    expect([told, one.ewmaMs(now)]).toEqual([['out i0'], 300])
  })

  it('refused rests it for as long as it asked, and the others go on', () => {
    const { set, one } = five()
    set.rest(one, 30_000)
    set.record(one, 'refused', 1)
    for (let i = 0; i < 200; i++) expect(set.pick(nobody)).not.toBe(one)
    expect([set.reasonFor(one), one.failuresInRow]).toEqual(['resting, as it asked', 0])
    now += 30_001
    expect(set.reasonFor(one)).toBe('in use')
    for (const endpoint of set.all) set.rest(endpoint, 60_000)
    expect(set.pick(nobody), 'when all rest, somebody must be asked').toBeDefined()
  })

  it('draining ones get nothing, and none with all its room taken', () => {
    const { set } = setOf(many(3), { maxConcurrent: 1 })
    set.leave(set.all[0]!, 'draining')
    const ends = [set.pick(nobody)!, undefined]
    const end = ends[0]!.begin()
    const other = set.pick(nobody)!
    expect(new Set([ends[0], other])).toEqual(new Set(set.all.slice(1)))
    other.begin()
    set.all[0]!.begin()
    expect(set.pick(nobody)).toBeUndefined()
    end()
    end()
    expect(set.pick(nobody)).toBe(ends[0])
    expect(ends[0]!.inFlight).toBe(0)
  })

  it('half of them bad eject by the success rate, not when all are alike', () => {
    const { set, told } = setOf(many(6), { ejection: { successRateThroughput: 50, failuresInRow: 1000 } })
    const round = (rate: (index: number) => number): void => {
      for (let i = 0; i < 600; i++) set.record(set.all[i % 6]!, Math.random() < rate(i % 6) ? 'answered' : 'failed', 10)
      now += 10_001
      set.record(set.all[5]!, 'failed', 10)
    }
    round(() => 0.5)
    expect(told.length).toBeLessThanOrEqual(1)
    told.length = 0
    now += 1_000_000
    set.pick(nobody)
    told.length = 0
    round((index) => (index === 2 ? 0.5 : 0.98))
    round((index) => (index === 2 ? 0.5 : 0.98))
    expect(told).toContain('out i2')
    expect(set.reasonFor(set.all[2]!)).toBe('ejected after its success rate')
  })
})

describe('zones', () => {
  const zoned = (near: number, far: number) => [
    ...Array.from({ length: near }, (_, index) => instance(index, 1, 'a')),
    ...Array.from({ length: far }, (_, index) => instance(100 + index, 1, 'b')),
  ]
  const nearShare = (set: EndpointSet, requests = 4000) =>
    shares(set, requests).reduce((sum, share, index) => sum + (set.all[index]!.instance.meta!['zone'] === 'a' ? share : 0), 0)

  it.each([
    [3, 3, 1],
    [1, 3, 0.5],
    [0, 3, 0],
    [4, 1, 1],
  ])('with %d near and %d far, the near ones get %d of the requests', (near, far, expected) => {
    const { set } = setOf(zoned(near, far), { zone: 'a' })
    expect(nearShare(set)).toBeCloseTo(expected, 1)
  })

  it('spills over when near ones are out, and when near ones were tried', () => {
    const { set } = setOf(zoned(3, 3), { zone: 'a' })
    expect(set.pick(new Set(set.all.slice(0, 3)))!.instance.meta).toEqual({ zone: 'b' })
    for (const endpoint of set.all.slice(0, 2)) set.rest(endpoint, 60_000)
    expect(nearShare(set)).toBeCloseTo(0.5, 1)
  })
})

describe('probes', () => {
  it('two failed ones leave an instance out until a good one, which also ends an ejection; not when too few are left', () => {
    const { set, told } = setOf(many(4))
    const [first, second, third] = set.all as [Endpoint, Endpoint, Endpoint]
    const asked = () => new Set(Array.from({ length: 200 }, () => set.pick(nobody)!))
    set.probed(first, 'failed', 5000)
    set.probed(first, 'busy', 5000)
    expect(asked().size).toBe(4)
    for (let probe = 0; probe < 3; probe++) set.probed(first, 'failed', 5000)
    expect([asked().has(first), set.reasonFor(first), told]).toEqual([false, 'fails its probes', ['out i0']])
    for (let failure = 0; failure < 5; failure++) set.record(second, 'failed', 1)
    expect(asked().has(second)).toBe(false)
    set.probed(second, 'well', 5000)
    set.probed(first, 'well', 5000)
    expect(asked().has(first)).toBe(true)
    expect(set.reasonFor(second), 'its failures cost it requests for some seconds').toBe('failures in a row: 5')
    expect(told).toEqual(['out i0', 'out i1', 'back i0', 'back i1'])
    for (const endpoint of [first, second, third]) for (let probe = 0; probe < 2; probe++) set.probed(endpoint, 'failed', 5000)
    expect([asked().has(first), set.reasonFor(first)]).toEqual([true, 'fails its probes, used because too few are left'])
  })

  it('heed what an instance says of leaving, as often as it says it', () => {
    const { set } = setOf(many(2))
    const [leaving] = set.all as [Endpoint]
    for (let time = 0; time < 3; time++) {
      set.probed(leaving, 'draining', 5000)
      expect(Array.from({ length: 50 }, () => set.pick(nobody)).includes(leaving)).toBe(false)
      now += 61_000
      expect(Array.from({ length: 50 }, () => set.pick(nobody)).includes(leaving)).toBe(true)
    }
  })
})

it('a pick costs the same among 10 and among 10,000', () => {
  const costOf = (count: number): number => {
    const { set } = setOf(many(count))
    let best = Number.POSITIVE_INFINITY
    for (let round = 0; round < 7; round++) {
      const startedAt = process.hrtime.bigint()
      for (let pick = 0; pick < 20_000; pick++) set.pick(nobody)
      best = Math.min(best, Number(process.hrtime.bigint() - startedAt) / 20_000)
    }
    return best
  }
  const [few, lots] = [costOf(10), costOf(10_000)]
  console.log(`a pick: ${few.toFixed()} ns among 10, ${lots.toFixed()} ns among 10,000`)
  expect(lots, 'caches are colder, but nothing is looked through').toBeLessThan(few * 5 + 1000)
})
