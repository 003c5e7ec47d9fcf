import { describe, expect, it } from 'vitest'
import { HeldInstances } from './held-instances.ts'
import type { Instance } from './registry.ts'

const set = (...ports: number[]): Instance[] => ports.map((port) => ({ id: `s${port}`, service: 's', address: '127.0.0.1', port }))
const portsOf = (instances: readonly Instance[]) => instances.map(({ port }) => port).sort((a, b) => a - b)

describe('instances that vanish', () => {
  it.each([
    ['one of five', [1, 2, 3, 4, 5], [1, 2, 3, 4], false, [1, 2, 3, 4]],
    ['two of five', [1, 2, 3, 4, 5], [1, 2, 3], false, [1, 2, 3, 4, 5]],
    ['four of five', [1, 2, 3, 4, 5], [1], false, [1, 2, 3, 4, 5]],
    ['all', [1], [], false, [1]],
    ['one of two', [1, 2], [1], false, [1]],
    ['two of ten', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 2, 3, 4, 5, 6, 7, 8], false, [1, 2, 3, 4, 5, 6, 7, 8]],
    ['one of five after an outage', [1, 2, 3, 4, 5], [1, 2, 3, 4], true, [1, 2, 3, 4, 5]],
    ['many, while new ones come', [1, 2, 3], [7, 8], false, [1, 2, 3, 7, 8]],
  ])('%s', (_, known, next, doubtful, expected) => {
    expect(portsOf(new HeldInstances(5000).merge(set(...known), set(...next), doubtful, 0).instances)).toEqual(expected)
  })

  it('come back one by one, and those that do not are let go when none has come back for the time', () => {
    const held = new HeldInstances(5000)
    let known = held.merge(set(1, 2, 3, 4, 5), [], false, 0).instances
    for (const [ms, next] of [
      [1000, [1]],
      [2000, [1, 2]],
      [3000, [1, 2, 3]],
    ] as const) {
      known = held.merge(known, set(...next), false, ms).instances
      expect(portsOf(known)).toEqual([1, 2, 3, 4, 5])
    }
    expect([held.size, held.until]).toEqual([2, 8000])
    expect(held.release(7999).size).toBe(0)
    expect(held.release(8000).size).toBe(2)
  })

  it('are not waited for without end because others come and go', () => {
    const held = new HeldInstances(5000)
    let known = held.merge(set(1, 2, 3, 4, 5), [], false, 0).instances
    for (let ms = 1000; ms <= 29_000; ms += 1000) {
      known = held.merge(known, ms % 2000 === 0 ? [] : set(1), false, ms).instances
      expect(portsOf(known)).toEqual([1, 2, 3, 4, 5])
    }
    expect(held.release(30_000).size).toBe(4)
  })

  it('are many as well when they vanish in small steps; when they do slowly, they are not', () => {
    const inSteps = (everyMs: number): number[] => {
      const held = new HeldInstances(5000)
      let known: readonly Instance[] = set(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
      for (let left = 9; left > 0; left--)
        known = held.merge(known, set(...Array.from({ length: left }, (_, index) => index + 1)), false, (10 - left) * everyMs).instances
      return portsOf(known)
    }
    expect(inSteps(100)).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(inSteps(6000)).toEqual([1])
  })

  it('count for nothing while the registry is not to be had, however long, but not without end', () => {
    const held = new HeldInstances(5000)
    let known = held.merge(set(1, 2, 3), [], false, 0).instances
    for (let outage = 1; outage <= 6; outage++) {
      known = held.merge(known, [], true, outage * 60_000).instances
      expect([portsOf(known), held.until]).toEqual([[1, 2, 3], outage * 60_000 + 5000])
    }
    expect(held.merge(known, [], true, 420_000).instances).toEqual([])
  })

  it('are given up at once when the registry says that they are out of service', () => {
    const held = new HeldInstances(5000)
    held.merge(set(1, 2, 3), [], false, 0)
    held.forget(new Set(['s1', 's3']))
    expect(portsOf(held.merge(set(2), [], false, 10).instances)).toEqual([2])
  })

  it('are believed gone at once when nothing is to be confirmed', () => {
    expect(new HeldInstances(0).merge(set(1, 2), [], false, 0)).toEqual({ instances: [], held: 0 })
  })
})
