import { describe, expect, it } from 'vitest'
import { createRandom, weighted } from './random.ts'

describe('createRandom', () => {
  it('repeats itself for the same seed only', () => {
    const draw = (seed: number) => {
      const random = createRandom(seed)
      return Array.from({ length: 5 }, () => random.next())
    }
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  it('makes identifiers that are valid and differ', () => {
    const random = createRandom(1)
    const ids = Array.from({ length: 1000 }, () => random.uuid())
    expect(new Set(ids).size).toBe(1000)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })
})

describe('weighted', () => {
  it('draws in proportion to the weights', () => {
    const draw = weighted([1, 0, 3])
    const random = createRandom(42)
    const counts = [0, 0, 0]
    for (let i = 0; i < 40_000; i++) counts[draw(random)]!++
    expect(counts[1]).toBe(0)
    expect(counts[2]! / counts[0]!).toBeGreaterThan(2.8)
    expect(counts[2]! / counts[0]!).toBeLessThan(3.2)
  })
})
