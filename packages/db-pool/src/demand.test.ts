import { expect, it } from 'vitest'
import { Demand } from './demand.ts'

const learned = (useMs: number, connectMs: number): Demand => {
  const demand = new Demand(() => {})
  demand.used(useMs)
  demand.connected(connectMs)
  return demand
}

it('opens for everybody while nothing is known, or when nothing comes back', () => {
  expect(new Demand(() => {}).toOpen(50, 5, 0)).toBe(50)
  expect(learned(2, 150).toOpen(50, 0, 0)).toBe(50)
})

it('opens nothing for a burst that is over before a connection could be there', () => {
  expect(learned(2, 150).toOpen(50, 5, 0)).toBe(0)
  expect(learned(2, 150).toOpen(500, 5, 0)).toBe(125)
})

it('opens for everybody when uses are long, and twice as many when somebody has waited for long', () => {
  expect(learned(1_000, 20).toOpen(50, 5, 0)).toBe(50)
  expect(learned(2, 150).toOpen(50, 5, 76)).toBe(5)
  expect(learned(2, 15).toOpen(50, 5, 11)).toBe(5)
})
