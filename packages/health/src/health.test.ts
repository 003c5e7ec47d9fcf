import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { createHealth, HealthError } from './index.ts'
import { fast, testHealth, until } from './healths.fixture.ts'

const health = testHealth()

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

  it.each([
    ['fail', 'fail'],
    ['down', 'fail'],
    [200, 'pass'],
    ['green', 'pass'],
  ])('a check that resolves to the status %j is a %s', async (status, expected) => {
    const one = health({ db: { ...fast, kind: 'critical', run: () => Promise.resolve({ status }) as never } })
    one.setState('ready')
    await until(() => expect(one.readiness().checks['db']?.message).not.toBe('not checked yet'))
    expect(one.readiness().checks['db']?.status).toBe(expected)
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
        expect(real.headers.get('allow')).toBe(real.status === 405 ? 'GET, HEAD' : null)
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
