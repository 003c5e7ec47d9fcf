import { AsyncLocalStorage } from 'node:async_hooks'
import { spawnSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import { expect, test, vi } from 'vitest'
import { settlesWithin, withDeadline } from './abort.ts'
import { backgroundInterval, backgroundPause, backgroundTimeout, equalDeadlines, pause } from './timers.ts'

/** What a process that only waits ends with, and whether it waited to the end. */
function ending(code: string): { status: number | null; output: string } {
  const program = `import { backgroundPause, equalDeadlines, pause } from ${JSON.stringify(new URL('timers.ts', import.meta.url).href)}\n${code}`
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', timeout: 20_000 })
  return { status, output: stdout }
}

test('a pause that is awaited holds the process', () => {
  expect(ending("await pause(100); console.log('waited')")).toEqual({ status: 0, output: 'waited\n' })
})

test('a time that is over already, or no number, is now, and nobody is warned of it', async () => {
  const warned = vi.fn<(warning: Error) => void>()
  process.on('warning', warned)
  await pause(-2_389)
  await pause(Number.NaN)
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

test('limits of equal length: each is told at its own end, once, and what has ended in time is not', async () => {
  vi.useFakeTimers()
  const begin = equalDeadlines(100)
  const late: string[] = []
  const end = begin(() => late.push('ended'))
  begin(() => late.push('first'))
  await vi.advanceTimersByTimeAsync(60)
  begin(() => late.push('second'))
  end()
  await vi.advanceTimersByTimeAsync(45)
  expect(late).toEqual(['first'])
  await vi.advanceTimersByTimeAsync(60)
  expect(late).toEqual(['first', 'second'])
  await vi.advanceTimersByTimeAsync(1_000)
  expect([late, vi.getTimerCount()]).toEqual([['first', 'second'], 0])
  vi.useRealTimers()
})

test('a limit that is open holds the process, and one that has ended does not', () => {
  expect(ending("equalDeadlines(100)(() => console.log('late'))")).toEqual({ status: 0, output: 'late\n' })
  const again = "const begin = equalDeadlines(60_000); begin(() => console.log('late'))(); begin(() => console.log('late'))()"
  expect(ending(again)).toEqual({ status: 0, output: '' })
  const anew = "const begin = equalDeadlines(100); begin(() => console.log('early'))(); begin(() => console.log('late'))"
  expect(ending(anew)).toEqual({ status: 0, output: 'late\n' })
})

test('a limit that is ended twice, or after its time, leaves the others alone', async () => {
  vi.useFakeTimers()
  const begin = equalDeadlines(100)
  const late: string[] = []
  const ends = ['first', 'second', 'third'].map((name) => begin(() => late.push(name)))
  ends[0]?.()
  ends[1]?.()
  ends[0]?.()
  await vi.advanceTimersByTimeAsync(105)
  expect(late).toEqual(['third'])
  begin(() => late.push('fourth'))
  ends[2]?.()
  await vi.advanceTimersByTimeAsync(105)
  expect([late, vi.getTimerCount()]).toEqual([['third', 'fourth'], 0])
  vi.useRealTimers()
})

test('what arrived while the process stood still is heard before a limit is over', async () => {
  const { port1, port2 } = new MessageChannel()
  const late = vi.fn<() => void>()
  const end = equalDeadlines(20)(late)
  const heard = new Promise<void>((resolve) => {
    port2.once('message', () => {
      end()
      resolve()
    })
  })
  port1.postMessage('answer')
  const until = performance.now() + 60
  while (performance.now() < until);
  await heard
  await new Promise((resolve) => setTimeout(resolve, 60))
  port1.close()
  expect(late).not.toHaveBeenCalled()
})
