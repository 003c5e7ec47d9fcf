import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { createHealth } from './index.ts'
import { fast, testHealth, until } from './healths.fixture.ts'

const health = testHealth()
const silent = { debug() {}, info() {}, warn() {}, error() {} }

describe('checks', () => {
  it('never has two runs of one check in flight, even when a run hangs and ignores its signal', async () => {
    let inFlight = 0
    let most = 0
    let signal: AbortSignal | undefined
    const hung = Promise.withResolvers<void>()
    const one = health(
      {
        db: {
          ...fast,
          kind: 'critical',
          run: async (options) => {
            signal = options?.signal
            most = Math.max(most, ++inFlight)
            await hung.promise
            inFlight -= 1
          },
        },
      },
      silent,
    )
    one.setState('ready')
    await until(() => expect(one.readiness().checks['db']).toMatchObject({ status: 'fail', message: 'check timed out' }))
    expect(signal?.aborted).toBe(true)
    const before = performance.now()
    await until(() => expect(performance.now() - before).toBeGreaterThan(100))
    expect(most).toBe(1)
    hung.resolve()
    await until(() => expect(one.readiness().status).toBe('pass'))
    expect(most).toBe(1)
  })

  it('are not run by probes', async () => {
    let runs = 0
    const one = health({
      db: {
        kind: 'critical',
        intervalMs: 60_000,
        run: async () => {
          runs += 1
        },
      },
    })
    await one.ready()
    for (let i = 0; i < 100; i++) one.readiness()
    expect(runs).toBe(1)
  })

  it('that have not passed yet run again soon, however rare they are, and once they have passed every interval', async () => {
    vi.useFakeTimers()
    try {
      let connected = false
      let runs = 0
      const run = async (): Promise<void> => {
        runs += 1
        if (!connected) throw new Error('not connected yet')
      }
      const one = health({ db: { kind: 'critical', intervalMs: 60_000, run } }, silent)
      one.setState('ready')
      await vi.advanceTimersByTimeAsync(1_000)
      expect(runs).toBeGreaterThanOrEqual(3)
      connected = true
      await vi.advanceTimersByTimeAsync(1_000)
      expect(one.readiness().status).toBe('pass')
      connected = false
      runs = 0
      await vi.advanceTimersByTimeAsync(50_000)
      expect(runs).toBe(0)
      await vi.advanceTimersByTimeAsync(250_000)
      expect(runs).toBeLessThanOrEqual(5)
    } finally {
      vi.useRealTimers()
    }
  })

  it('run once an interval beside a thousand probes at the same time', async () => {
    let runs = 0
    const run = async (): Promise<void> => {
      runs += 1
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const one = health({ db: { kind: 'critical', intervalMs: 60_000, run } })
    await one.ready()
    one.setState('ready')
    const server = createServer(one.handler).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/ready`
    const statuses = await Promise.all(Array.from({ length: 1_000 }, async () => (await fetch(url)).status))
    server.closeAllConnections()
    server.close()
    expect(new Set(statuses)).toEqual(new Set([200]))
    expect(runs).toBe(1)
  })

  it('are marked stale when their loop does not run any more', async () => {
    vi.useFakeTimers()
    try {
      const one = health({ db: { kind: 'critical', intervalMs: 1_000, timeoutMs: 100, run: async () => {} } })
      one.setState('ready')
      await vi.advanceTimersByTimeAsync(10)
      expect(one.readiness().status).toBe('pass')
      await one.close()
      vi.advanceTimersByTime(4_000)
      expect(one.readiness()).toMatchObject({ status: 'warn', checks: { db: { message: 'result is stale' } } })
    } finally {
      vi.useRealTimers()
    }
  })

  it('stop at close: the run in flight is aborted, no other follows', async () => {
    let runs = 0
    let signal: AbortSignal | undefined
    const one = health({
      db: {
        ...fast,
        timeoutMs: 60_000,
        kind: 'critical',
        run: (options) => {
          runs += 1
          signal = options?.signal
          return new Promise((_, reject) => options?.signal?.addEventListener('abort', () => reject(new Error('aborted'))))
        },
      },
    })
    await until(() => expect(runs).toBe(1))
    const closing = one.close()
    expect(one.close()).toBe(closing)
    await closing
    expect(signal?.aborted).toBe(true)
    expect(runs).toBe(1)
    await expect(one.ready()).rejects.toMatchObject({ code: 'ERR_HEALTH_CLOSED' })
  })
})

describe('checks and the process they live in', () => {
  it('at most `maxConcurrent` run at the same time, all get their turn, and a hung one gives its place up at its timeout', async () => {
    let inFlight = 0
    let most = 0
    const brief = async (): Promise<void> => {
      most = Math.max(most, ++inFlight)
      await new Promise((resolve) => setTimeout(resolve, 5))
      inFlight -= 1
    }
    const names = Array.from({ length: 20 }, (_, index) => `c${index}`)
    await using made = createHealth({
      maxConcurrent: 2,
      checks: {
        hung: { kind: 'optional', timeoutMs: 20, run: () => new Promise(() => {}) },
        ...Object.fromEntries(names.map((name) => [name, { kind: 'critical' as const, run: brief }])),
      },
    })
    await made.ready()
    expect(most).toBeLessThanOrEqual(2)
    expect(made.stats().pass).toBeGreaterThanOrEqual(20)
  })

  it('a stall of the process is not taken for a timeout of the dependency', async () => {
    let answer = () => {}
    const one = health({
      db: { kind: 'critical', intervalMs: 60_000, timeoutMs: 50, run: () => new Promise((resolve) => (answer = resolve)) },
    })
    await new Promise((resolve) => setTimeout(resolve, 5))
    setTimeout(() => answer(), 60)
    const from = performance.now()
    while (performance.now() - from < 300);
    await one.ready()
    expect(one.readiness().checks['db']).toMatchObject({ status: 'pass' })
  })

  it('a logger that throws stops nothing', async () => {
    const broken = () => {
      throw new Error('closed stream')
    }
    let runs = 0
    const run = () => (++runs % 2 === 0 ? Promise.resolve() : Promise.reject(new Error('down')))
    const one = health({ db: { ...fast, kind: 'critical', run } }, { debug: broken, info: broken, warn: broken, error: broken })
    one.setState('ready')
    await until(() => expect(runs).toBeGreaterThan(4))
  })

  it('who awaits ready() holds the process; checks alone do not', () => {
    const program = (wait: string) => `
      import { createHealth } from ${JSON.stringify(new URL('index.ts', import.meta.url).href)}
      let asked = 0
      const run = async () => { if (++asked < 3) throw new Error('down') }
      const health = createHealth({ checks: { db: { kind: 'critical', intervalMs: 50, run } } })
      ${wait}
      console.log('waited')`
    const ending = (wait: string) => {
      const args = ['--conditions=@platform/source', '--input-type=module', '-e', program(wait)]
      const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000, cwd: import.meta.dirname })
      return [status, stdout]
    }
    expect(ending('await health.ready(); await health.close()')).toEqual([0, 'waited\n'])
    expect(ending('')).toEqual([0, 'waited\n'])
  })
})
