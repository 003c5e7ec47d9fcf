import { expect, it } from 'vitest'
import { Shelf } from './shelf.ts'

it('keeps what is put in until it is taken out, once, and uses its place again', () => {
  const shelf = new Shelf<{ n: number }>()
  const items = [0, 1, 2].map((n) => ({ n }))
  const places = items.map((item) => shelf.put(item))
  const [first, second] = items as [{ n: number }, { n: number }]
  expect(shelf.take(places[1] as number, second)).toBe(true)
  expect(shelf.take(places[1] as number, second)).toBe(false)
  expect([shelf.size, [...shelf].map(({ n }) => n)]).toEqual([2, [0, 2]])
  expect(shelf.put(second)).toBe(places[1])
  expect(shelf.take(places[1] as number, first)).toBe(false)
  expect(shelf.get(places[0] as number)).toBe(first)
  expect(shelf.clear()).toHaveLength(3)
  expect([shelf.size, [...shelf]]).toEqual([0, []])
})
