import { createHealth } from '@platform/health'
import { describe, expect, it, vi } from 'vitest'
import { backgroundTask, component, createService, type TaskContext } from './index.ts'

const until = (assert: () => void) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const untilAborted = (signal: AbortSignal) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))

describe('a background task', () => {
  it('runs when what it needs is ready, is told to end by its signal, and is awaited', async () => {
    const life: string[] = []
    const db = { ready: async () => void life.push('db'), close: async () => void life.push('db closed') }
    const poll = backgroundTask(async ({ signal }) => {
      life.push('task')
      await untilAborted(signal)
      await new Promise((resolve) => setTimeout(resolve, 20))
      life.push('task ended')
    })
    const service = createService({ name: 's', components: { db, poll: component(poll, { needs: ['db'] }) } })
    await service.start()
    expect(poll.stats()).toEqual({ running: true, runs: 1, failures: 0 })
    expect(await service.stop('test')).toMatchObject({ cut: [], failed: [] })
    expect(life).toEqual(['db', 'task', 'task ended', 'db closed'])
  })

  it('is run again when it fails or ends, and warns meanwhile', async () => {
    const lines: string[] = []
    const warn = (fields: { err?: unknown }, message?: string): void => void lines.push(`${message}: ${String(fields.err)}`)
    let runs = 0
    const go: (() => void)[] = []
    const task = backgroundTask(
      async ({ signal }) => {
        runs++
        if (runs === 1) throw new Error('refused')
        if (runs === 3) await untilAborted(signal)
        await new Promise<void>((resolve) => go.push(resolve))
      },
      { initialDelayMs: 300, maxDelayMs: 300, logger: { debug() {}, info() {}, warn, error() {} } },
    )
    await task.ready()
    await until(() => expect(lines[0]).toBe('background task failed; it is run again: Error: refused'))
    expect(await task.check()).toMatchObject({ status: 'warn' })
    await until(() => expect(runs).toBe(2))
    expect(await task.check()).toBeUndefined()
    go[0]!()
    await until(() => expect(runs).toBe(3))
    expect(lines[1]).toContain('background task ended')
    expect(task.stats()).toEqual({ running: true, runs: 3, failures: 1 })
    task.quiesce()
    await until(() => expect(go).toHaveLength(2))
    go[1]!()
    await task.close()
  })

  it('that ignores its signal fails its close within the time', async () => {
    const task = backgroundTask(() => new Promise(() => {}))
    await task.ready()
    await expect(task.close({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'ERR_SERVICE_TIMEOUT' })
  })

  it('that owes its heartbeat fails the liveness of the service, until it beats again', async () => {
    let context: TaskContext | undefined
    const consumer = backgroundTask(
      async (given) => {
        context = given
        await untilAborted(given.signal)
      },
      { heartbeatMs: 300 },
    )
    const health = createHealth({ checks: {} })
    const service = createService({ name: 's', components: { consumer }, health })
    await service.start()
    expect(health.liveness().status).toBe('pass')
    await until(() => expect(health.liveness()).toMatchObject({ status: 'fail', checks: { consumer: { message: 'no sign of life' } } }))
    context!.beat()
    expect(health.liveness().status).toBe('pass')
    await service.stop('test')
    expect(health.liveness()).toEqual({ status: 'pass', checks: {} })
  })

  it.each([
    [{ maxDelayMs: -1 }, 'maxDelayMs'],
    [{ restarts: 3 }, 'restarts'],
  ])('names a wrong option: %j', (options, name) => {
    expect(() => backgroundTask(async () => {}, options as never)).toThrow(
      expect.objectContaining({ code: 'ERR_SERVICE_OPTION', message: expect.stringContaining(name) }),
    )
  })
})
