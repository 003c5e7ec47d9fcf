import { AsyncLocalStorage } from 'node:async_hooks'
import { spawnSync } from 'node:child_process'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { allDone, backgroundUpkeep, upkeep } from './upkeep.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('it is done every so often, counted from its end, and never twice at once', async () => {
  const running: PromiseWithResolvers<void>[] = []
  const end = upkeep(() => {
    const one = Promise.withResolvers<void>()
    running.push(one)
    return one.promise
  }, 10_000)
  await vi.advanceTimersByTimeAsync(9_999)
  expect(running).toHaveLength(0)
  await vi.advanceTimersByTimeAsync(100_000)
  expect(running).toHaveLength(1)
  running[0]?.resolve()
  await vi.advanceTimersByTimeAsync(9_999)
  expect(running).toHaveLength(1)
  await vi.advanceTimersByTimeAsync(1)
  expect(running).toHaveLength(2)
  end()
  running[1]?.resolve()
  await vi.advanceTimersByTimeAsync(100_000)
  expect(running).toHaveLength(2)
  expect(vi.getTimerCount()).toBe(0)
})

test('what failed is done again within seconds, however rare it is and however long it has failed', async () => {
  let away = true
  const done: number[] = []
  let tried = 0
  const end = backgroundUpkeep(
    async () => {
      tried++
      if (away) throw new Error('not connected')
      done.push(performance.now())
    },
    600_000,
    0,
  )
  await vi.advanceTimersByTimeAsync(60_000)
  expect(tried).toBeGreaterThan(12)
  expect(tried).toBeLessThan(40)
  away = false
  const backAt = performance.now()
  await vi.advanceTimersByTimeAsync(600_000)
  expect(done).toHaveLength(1)
  expect((done[0] as number) - backAt).toBeLessThanOrEqual(5_000)
  end()
})

test('what keeps something alive is tried several times in the time that it is done once in', async () => {
  let tried = 0
  const end = upkeep(() => Promise.reject(new Error(`${tried++}`)), 1_000)
  await vi.advanceTimersByTimeAsync(11_000)
  expect(tried).toBeGreaterThanOrEqual(40)
  end()
})

test('in the background it is no part of the request that happened to start it', async () => {
  const storage = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const end = storage.run('request', () =>
    backgroundUpkeep(async () => {
      seen.push(storage.getStore())
    }, 10),
  )
  await vi.advanceTimersByTimeAsync(30)
  end()
  expect(seen.length).toBeGreaterThan(1)
  expect(new Set(seen)).toEqual(new Set([undefined]))
})

test('it holds the process, unless it is in the background', () => {
  const program = (name: string): string =>
    `import { ${name} as begin } from ${JSON.stringify(new URL('upkeep.ts', import.meta.url).href)}
     const end = begin(async () => { console.log('done'); end() }, 50)`
  const ran = ['upkeep', 'backgroundUpkeep'].map((name) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', program(name)], { encoding: 'utf8' }),
  )
  expect(ran.map(({ stdout }) => stdout)).toEqual(['done\n', ''])
})

test('all parts are waited for though one of them fails, and its error is told then', async () => {
  const last = Promise.withResolvers<void>()
  let told: unknown
  const all = allDone([Promise.reject(new Error('one')), last.promise]).catch((error: unknown) => (told = error))
  await vi.advanceTimersByTimeAsync(1_000)
  expect(told).toBeUndefined()
  last.resolve()
  await all
  expect(told).toMatchObject({ message: 'one' })
  await expect(allDone([last.promise])).resolves.toBeUndefined()
})
