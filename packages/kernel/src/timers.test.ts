import { AsyncLocalStorage } from 'node:async_hooks'
import { spawnSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { expect, test, vi } from 'vitest'
import { settlesWithin, withDeadline } from './abort.ts'
import { backgroundInterval, backgroundPause, backgroundTimeout, pause } from './timers.ts'

/** What a process that only waits ends with, and whether it waited to the end. */
function ending(code: string): { status: number | null; output: string } {
  const program = `import { backgroundPause, pause } from ${JSON.stringify(new URL('timers.ts', import.meta.url).href)}\n${code}`
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', timeout: 20_000 })
  return { status, output: stdout }
}

test('a pause that is awaited holds the process', () => {
  expect(ending("await pause(100); console.log('waited')")).toEqual({ status: 0, output: 'waited\n' })
})

test('a time that is over already is now, and nobody is warned of it', async () => {
  const warned = vi.fn<(warning: Error) => void>()
  process.on('warning', warned)
  await pause(-2_389)
  await backgroundPause(-1, new AbortController().signal)
  await expect(
    withDeadline(
      -5,
      () => new Error('late'),
      () => new Promise(() => {}),
    ),
  ).rejects.toThrow('late')
  expect(await settlesWithin(new Promise(() => {}), -1)).toBe(false)
  await new Promise(setImmediate)
  process.off('warning', warned)
  expect(warned.mock.calls).toEqual([])
})

test('the pause of a loop that nobody awaits lets the process end', () => {
  expect(ending("void backgroundPause(60_000, new AbortController().signal).then(() => console.log('waited'))")).toEqual({
    status: 0,
    output: '',
  })
})

test('an abort ends a pause with its reason and a background pause without one; neither leaves a listener', async () => {
  const reason = new Error('enough')
  const controller = new AbortController()
  const both = [pause(60_000, controller.signal), backgroundPause(60_000, controller.signal)]
  controller.abort(reason)
  await expect(both[0]).rejects.toBe(reason)
  await expect(both[1]).resolves.toBeUndefined()
  await expect(pause(1, controller.signal)).rejects.toBe(reason)
  await expect(backgroundPause(1, controller.signal)).resolves.toBeUndefined()
  const quiet = new AbortController()
  await Promise.all([pause(1, quiet.signal), backgroundPause(1, quiet.signal)])
  expect([controller, quiet].flatMap(({ signal }) => getEventListeners(signal, 'abort'))).toEqual([])
})

test('work in the background is no part of the request that happened to start it', async () => {
  const storage = new AsyncLocalStorage<string>()
  const seen = await storage.run(
    'request',
    () =>
      new Promise<unknown[]>((resolve) => {
        const contexts: unknown[] = [storage.getStore()]
        const interval = backgroundInterval(() => {
          clearInterval(interval)
          contexts.push(storage.getStore())
          backgroundTimeout(() => resolve([...contexts, storage.getStore()]), 1)
        }, 1)
      }),
  )
  expect(seen).toEqual(['request', undefined, undefined])
})
