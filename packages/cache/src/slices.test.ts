import { afterEach, expect, it, vi } from 'vitest'
import type { SharedDriver } from './driver.ts'
import { createCache } from './index.ts'
import { inSlices } from './slices.ts'
import { MemoryPlace, memoryStore } from './testing/index.ts'
import { randomFrom, VirtualTime } from './testing/virtual-time.ts'

const time = new VirtualTime()
afterEach(() => time.uninstall())

/** A store that does one thing after the other, each of which takes its time. */
function busyStore(place: MemoryPlace, msEach: number): SharedDriver {
  const driver = memoryStore(place)
  return {
    ...driver,
    open: (options) => {
      const store = driver.open(options)
      let free = Promise.resolve()
      const inTurn = async <T>(things: number, work: () => Promise<T>): Promise<T> => {
        free = free.then(() => new Promise<void>((resolve) => void setTimeout(resolve, things * msEach)))
        await free
        return work()
      }
      return Object.assign(Object.create(store) as typeof store, {
        read: (lookups: Parameters<typeof store.read>[0]) => inTurn(lookups.length, () => store.read(lookups)),
        fill: (write: Parameters<typeof store.fill>[0]) => inTurn(1, () => store.fill(write)),
        renew: (...lease: Parameters<typeof store.renew>) => store.renew(...lease),
        release: (...lease: Parameters<typeof store.release>) => store.release(...lease),
        close: () => store.close(),
      })
    },
  }
}

it('a batch is stored and found again, however slow l2 is with each of its keys', async () => {
  time.install(randomFrom(1))
  const place = new MemoryPlace()
  const open = () => createCache({ namespace: 'slices', ttlMs: 600_000, l2: busyStore(place, 2), l2HardTimeoutMs: 500 })
  const [writer, reader] = [open(), open()]
  const keys = Array.from({ length: 3_000 }, (_, index) => `k${index}`)
  const loaded: number[] = []
  const load = async (missing: readonly string[]) => {
    loaded.push(missing.length)
    return new Map(missing.map((key) => [key, key]))
  }
  let ended = 0
  for (const cache of [writer, reader]) {
    const before = ended
    void cache.getOrSetMany(keys, load).then(() => ended++)
    await time.runUntil(() => ended > before, time.now + 120_000)
  }
  expect([ended, loaded]).toEqual([2, [3_000]])
})

it.each([
  ['slow', 2, [100, 50, 50]],
  ['very slow', 1_000, [100, 50, 25, 25]],
  ['fast', 0, [100, 200, 400, 500, 500]],
])('as many at a time as get done in a fifth of the limit: %s', async (_how, msEach, sizes) => {
  vi.useFakeTimers({ toFake: ['performance'] })
  try {
    const seen: number[] = []
    const total = sizes.reduce((sum, size) => sum + size, 0)
    await inSlices(Array.from({ length: total }), 500, async ({ length }) => {
      seen.push(length)
      vi.advanceTimersByTime(length * msEach)
    })
    expect(seen).toEqual(sizes)
  } finally {
    vi.useRealTimers()
  }
})
