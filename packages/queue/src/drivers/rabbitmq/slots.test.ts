import { expect, it } from 'vitest'
import { Slots } from './slots.ts'

it('gives no more than there are, and what is free again to who waits longest', () => {
  const slots = new Slots(2)
  const running: string[] = []
  const work = new Map([
    ['a', 4],
    ['b', 2],
    ['c', 0],
  ])
  const pumps = new Map<string, () => void>()
  for (const name of work.keys()) {
    const pump = (): void => {
      while ((work.get(name) ?? 0) > 0 && slots.take(pump)) {
        work.set(name, (work.get(name) ?? 0) - 1)
        running.push(name)
      }
    }
    pumps.set(name, pump)
  }
  for (const pump of pumps.values()) pump()
  expect(running).toEqual(['a', 'a'])
  // Somebody whose work has gone meanwhile does not keep the slot from the next.
  expect(slots.take(() => {})).toBe(false)
  for (let n = 0; n < 4; n += 1) slots.release()
  expect(running).toEqual(['a', 'a', 'a', 'b', 'a', 'b'])
  slots.release()
  slots.release()
  expect([slots.take(() => {}), slots.take(() => {}), slots.take(() => {})]).toEqual([true, true, false])
})
