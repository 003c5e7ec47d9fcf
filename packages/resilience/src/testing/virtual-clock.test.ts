import { afterEach, beforeEach, expect, it } from 'vitest'
import { VirtualClock } from './virtual-clock.ts'

let uninstall: () => void
let clock: VirtualClock
let ran: string[]
beforeEach(() => {
  clock = new VirtualClock(Math.random)
  uninstall = clock.install()
  ran = []
})
afterEach(() => uninstall())

const run = (ms: number) => clock.runUntil(clock.now + ms)
const later = (name: string, ms: number) => setTimeout(() => ran.push(name), ms)

it('runs timers in the order of their time, and of their making at one time', async () => {
  later('b', 20)
  later('a', 10)
  later('c', 20)
  await run(15)
  expect(ran).toEqual(['a'])
  await run(15)
  expect(ran).toEqual(['a', 'b', 'c'])
})

it('does not fire what was cleared, before or by another timer of the same moment', async () => {
  clearTimeout(later('cleared', 10))
  setTimeout(() => clearTimeout(victim), 20)
  const victim = later('cleared by another', 20)
  later('other', 30)
  clearTimeout(undefined)
  await run(100)
  expect(ran).toEqual(['other'])
})

it('begins again with refresh, fires once, and is over after it was cleared', async () => {
  const timer = later('refreshed', 10)
  await run(6)
  timer.refresh()
  await run(6)
  expect(ran).toEqual([])
  await run(6)
  expect([ran, timer.hasRef()]).toEqual([['refreshed'], false])
  timer.refresh()
  clearTimeout(timer)
  await run(20)
  expect(ran).toEqual(['refreshed'])
})

it('repeats an interval until it is cleared, also from within', async () => {
  const timer = setInterval(() => {
    ran.push('tick')
    if (ran.length === 3) clearInterval(timer)
  }, 10)
  await run(100)
  expect(ran).toEqual(['tick', 'tick', 'tick'])
})
