import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Check, createHealth, type Health, HealthError } from './index.ts'

const open: Health[] = []
function health(checks: Record<string, Check>, logger?: Parameters<typeof createHealth>[0]['logger']): Health {
  const made = createHealth({ checks, logger })
  open.push(made)
  return made
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close({ timeoutMs: 100 })))
})

const fast = { intervalMs: 10, timeoutMs: 20, fall: 1 } as const
const until = (assert: () => void) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const silent = { debug() {}, info() {}, warn() {}, error() {} }

describe('readiness', () => {
  it('follows the state and the critical checks, one after the other', async () => {
    let up = false
    const one = health({
      db: {
        ...fast,
        kind: 'critical',
        run: async () => {
          if (!up) throw new Error('down')
        },
      },
    })
    expect(one.readiness()).toMatchObject({ status: 'fail', state: 'starting', checks: { db: { message: 'not checked yet' } } })
    one.setState('ready')
    await until(() => expect(one.readiness().checks['db']).toMatchObject({ status: 'fail', message: 'check failed' }))
    expect(one.readiness().status).toBe('fail')
    up = true
    await until(() => expect(one.readiness().status).toBe('pass'))
    one.setState('draining')
    expect(one.readiness()).toMatchObject({ status: 'fail', state: 'draining' })
    expect(one.liveness().status).toBe('pass')
    one.setState('ready')
    expect(one.readiness().state).toBe('draining')
  })

  it('only warns for a shared dependency and ignores an optional one', async () => {
    const down = () => Promise.reject(new Error('down'))
    let shared = down
    const one = health({
      db: { ...fast, kind: 'shared', run: () => shared() },
      mail: { ...fast, kind: 'optional', run: down },
    })
    one.setState('ready')
    await until(() =>
      expect(one.readiness()).toMatchObject({ status: 'warn', checks: { db: { status: 'fail' }, mail: { status: 'fail' } } }),
    )
    shared = () => Promise.resolve() as never
    await until(() => expect(one.readiness()).toMatchObject({ status: 'pass', checks: { mail: { status: 'fail' } } }))
    shared = () => Promise.resolve({ status: 'warn', message: 'replica lags on 10.0.0.7' }) as never
    await until(() => expect(one.readiness().checks['db']).toMatchObject({ status: 'warn', message: 'usable, not well' }))
    await expect(one.check()).resolves.toMatchObject({ status: 'warn' })
  })

  it('counts `fall` bad results before a good check fails and `rise` good ones before it recovers', async () => {
    let ok = true
    let runs = 0
    const seen: string[] = []
    const one = health({
      db: {
        kind: 'critical',
        intervalMs: 10,
        fall: 3,
        rise: 2,
        run: async () => {
          runs += 1
          seen.push(one.readiness().status)
          if (!ok) throw new Error('down')
        },
      },
    })
    await one.ready()
    one.setState('ready')
    await until(() => expect(one.readiness().status).toBe('pass'))
    ok = false
    const from = runs
    seen.length = 0
    await until(() => expect(one.readiness().status).toBe('fail'))
    expect(runs - from).toBe(3)
    expect(seen).toEqual(['pass', 'pass', 'pass'])
    ok = true
    const back = runs
    await until(() => expect(one.readiness().status).toBe('pass'))
    expect(runs - back).toBe(2)
  })

  it('shows texts of its own only; the raw cause goes to the log', async () => {
    const lines: string[] = []
    const note = (fields: object) => lines.push(String((fields as { err?: unknown }).err))
    const one = health(
      { db: { ...fast, kind: 'critical', run: () => Promise.reject(new Error('password "hunter2" refused by db-7.internal')) } },
      { debug: note, info: note, warn: note, error: note },
    )
    one.setState('ready')
    await until(() => expect(one.readiness().checks['db']?.message).toBe('check failed'))
    expect(JSON.stringify(one.readiness())).not.toContain('hunter2')
    expect(lines.join()).toContain('hunter2')
  })
})

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
    const made = createHealth({
      maxConcurrent: 2,
      checks: {
        hung: { kind: 'optional', timeoutMs: 20, run: () => new Promise(() => {}) },
        ...Object.fromEntries(names.map((name) => [name, { kind: 'critical' as const, run: brief }])),
      },
    })
    open.push(made)
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

describe('ready and check', () => {
  it('ready resolves at the first pass of every critical check, and rejects with the reason of its signal', async () => {
    let up = false
    const one = health({
      db: { ...fast, kind: 'critical', run: async () => Promise.resolve(up ? undefined : Promise.reject(new Error('down'))) },
    })
    const controller = new AbortController()
    const waiting = one.ready({ signal: controller.signal })
    const reason = new Error('enough')
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    up = true
    await one.ready()
    const error = await one.check().catch((thrown: unknown) => thrown)
    expect(HealthError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({ code: 'ERR_HEALTH_NOT_READY', failing: [] })
  })
})

describe('probes over HTTP', () => {
  it('answer /live /ready /started with health+json, 200 or 503, in node:http and fetch alike', async () => {
    const one = health({ db: { ...fast, kind: 'critical', run: async () => {} } })
    const server = createServer(one.handler).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    try {
      const ask = async (path: string, init?: RequestInit) => {
        const real = await fetch(url + path, { ...init, headers: { connection: 'close' } })
        const same = one.fetchHandler(new Request(url + path, init))
        expect(same.status).toBe(real.status)
        expect(same.headers.get('content-type')).toBe(real.headers.get('content-type'))
        return { status: real.status, type: real.headers.get('content-type'), text: await real.text() }
      }
      await one.ready()
      expect(await ask('/live')).toMatchObject({ status: 200, type: 'application/health+json' })
      expect((await ask('/ready')).status).toBe(503)
      expect((await ask('/started')).status).toBe(503)
      one.setState('ready')
      const ready = await ask('/ready?verbose')
      expect(ready.status).toBe(200)
      expect(JSON.parse(ready.text)).toMatchObject({ status: 'pass', state: 'ready', checks: { db: [{ status: 'pass' }] } })
      expect((await ask('/started')).status).toBe(200)
      one.setState('draining')
      expect((await ask('/ready')).status).toBe(503)
      expect((await ask('/live')).status).toBe(200)
      expect((await ask('/other')).status).toBe(404)
      expect((await ask('/live', { method: 'POST' })).status).toBe(405)
      expect(await ask('/live', { method: 'HEAD' })).toMatchObject({ status: 200, text: '' })
    } finally {
      server.close()
    }
  })
})

describe('options', () => {
  it.each([
    ['checks', {}],
    ['checks.db.run', { checks: { db: { kind: 'critical' } } }],
    ['checks.db.kind', { checks: { db: { kind: 'vital', run: async () => {} } } }],
    ['checks.db.intervalMs', { checks: { db: { kind: 'critical', run: async () => {}, intervalMs: 1 } } }],
    ['checks.db.rise', { checks: { db: { kind: 'critical', run: async () => {}, rise: 1.5 } } }],
    ['checks.db.timeout ', { checks: { db: { kind: 'critical', run: async () => {}, timeout: 5 } } }],
    ['interval ', { checks: {}, interval: 5 }],
  ])('a wrong %s is named', (name, options) => {
    expect(() => createHealth(options as never)).toThrow(
      expect.objectContaining({ code: 'ERR_HEALTH_OPTION', message: expect.stringContaining(name) }),
    )
  })
})

describe('a database that is away for a minute', () => {
  it('restarts nobody and takes nobody out, while it is shared', async () => {
    vi.useFakeTimers()
    try {
      let isUp = true
      const one = health({ db: { kind: 'shared', run: () => (isUp ? Promise.resolve() : Promise.reject(new Error('refused'))) } })
      one.setState('ready')
      await vi.advanceTimersByTimeAsync(10)
      expect(one.readiness().status).toBe('pass')
      isUp = false
      for (let second = 0; second < 60; second++) {
        await vi.advanceTimersByTimeAsync(1_000)
        expect(one.liveness().status).toBe('pass')
        expect(one.readiness().status).not.toBe('fail')
      }
      expect(one.readiness().status).toBe('warn')
      isUp = true
      await vi.advanceTimersByTimeAsync(6_000)
      expect(one.readiness().status).toBe('pass')
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('heartbeats', () => {
  it('a silent loop fails liveness, whatever readiness says; one that beats or has ended does not', async () => {
    await using health = createHealth({ checks: {} })
    health.setState('ready')
    const polling = health.heartbeat('polling', { withinMs: 200 })
    const other = health.heartbeat('polling', { withinMs: 60_000 })
    expect(health.liveness()).toMatchObject({ status: 'pass', checks: { polling: { status: 'pass' } } })
    await vi.waitFor(
      () => expect(health.liveness()).toMatchObject({ status: 'fail', checks: { polling: { message: 'no sign of life' } } }),
      10_000,
    )
    expect(health.readiness().status).toBe('pass')
    polling.beat()
    other.beat()
    expect(health.liveness().status).toBe('pass')
    await vi.waitFor(() => expect(health.liveness().status).toBe('fail'), 10_000)
    polling.end()
    expect(health.liveness().status).toBe('pass')
  })

  it('a stall of the process is no silence of its loops', async () => {
    await using health = createHealth({ checks: {} })
    health.heartbeat('polling', { withinMs: 1_000 })
    const until = performance.now() + 1_500
    while (performance.now() < until);
    expect(health.liveness().status).toBe('pass')
  })

  it.each([[{ withinMs: 10 }], [{ within: 1_000 }]])('names a wrong option: %j', (options) => {
    const health = createHealth({ checks: {} })
    expect(() => health.heartbeat('polling', options as never)).toThrow(expect.objectContaining({ code: 'ERR_HEALTH_OPTION' }))
  })
})
