import { createHealth } from '@platform/health'
import { describe, expect, it, vi } from 'vitest'
import { type Component, component, createService, ServiceError } from './index.ts'

const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const never = () => new Promise<never>(() => {})

/** Writes what is asked of it into a shared list. */
function recorder(events: string[], name: string, own: Partial<Component> = {}): Component {
  return {
    ready: async () => void events.push(`ready ${name}`),
    quiesce: () => void events.push(`quiesce ${name}`),
    drain: async () => void events.push(`drain ${name}`),
    close: async () => void events.push(`close ${name}`),
    ...own,
  }
}

describe('the graph', () => {
  it('starts along the needs and stops in reverse: quiesce all, drain, close', async () => {
    const events: string[] = []
    const service = createService({
      name: 'orders',
      components: {
        http: component(recorder(events, 'http'), { needs: ['broker', 'db'] }),
        broker: component(recorder(events, 'broker'), { needs: ['db'] }),
        db: recorder(events, 'db'),
      },
    })
    await service.start()
    expect(events).toEqual(['ready db', 'ready broker', 'ready http'])
    events.length = 0
    const report = await service.stop('test')
    expect(events.slice(0, 3).toSorted()).toEqual(['quiesce broker', 'quiesce db', 'quiesce http'])
    expect(events.slice(3)).toEqual(['drain http', 'drain broker', 'drain db', 'close http', 'close broker', 'close db'])
    expect(report).toMatchObject({
      reason: 'test',
      cut: [],
      failed: [],
      phases: [{ name: 'quiesce' }, { name: 'drain' }, { name: 'close' }],
    })
  })

  it('starts a level in parallel', async () => {
    const waiting: (() => void)[] = []
    const meet = () => new Promise<void>((resolve) => waiting.push(resolve))
    const service = createService({
      name: 's',
      components: { a: { ready: meet, close: async () => {} }, b: { ready: meet, close: async () => {} } },
    })
    const started = service.start()
    await until(() => expect(waiting).toHaveLength(2))
    for (const go of waiting) go()
    await started
    await service.stop('test')
  })

  it('refuses a missing need and a circle at creation, by name', () => {
    const one = (...needs: string[]) => component({ close: async () => {} }, { needs })
    expect(() => createService({ name: 's', components: { http: one('database') } })).toThrow(
      expect.objectContaining({ code: 'ERR_SERVICE_MISSING_NEED', message: expect.stringContaining('"http" needs "database"') }),
    )
    expect(() => createService({ name: 's', components: { x: one('a'), a: one('b'), b: one('c'), c: one('a') } })).toThrow(
      expect.objectContaining({ code: 'ERR_SERVICE_CYCLE', message: expect.stringContaining('a → b → c → a') }),
    )
  })

  it('component() keeps identity, prototype and private fields, also of a frozen object', async () => {
    class Pool {
      #closed = false
      async close() {
        this.#closed = true
      }
      get closed() {
        return this.#closed
      }
    }
    const pool = new Pool()
    const frozen = Object.freeze(new Pool())
    const withNeeds = component(pool, { needs: ['frozen'] })
    expect(withNeeds).toBe(pool)
    expect(Object.keys(withNeeds)).toEqual([])
    const events: string[] = []
    const service = createService({
      name: 's',
      components: { pool: withNeeds, frozen: component(frozen, { needs: ['base'] }), base: recorder(events, 'base') },
    })
    await service.start()
    await service.stop('test')
    expect([pool.closed, frozen.closed]).toEqual([true, true])
  })
})

describe('a failed start', () => {
  it('aborts the others, closes everything in reverse with the half-started one, and keeps one cause chain', async () => {
    const events: string[] = []
    let aborted: unknown
    const cause = new Error('refused')
    const service = createService({
      name: 's',
      components: {
        db: recorder(events, 'db'),
        slow: component(
          recorder(events, 'slow', {
            ready: (options) =>
              new Promise((_, reject) => {
                options?.signal?.addEventListener('abort', () => {
                  aborted = options.signal?.reason
                  reject(options.signal?.reason)
                })
              }),
          }),
          { needs: ['db'] },
        ),
        broker: component(recorder(events, 'broker', { ready: () => Promise.reject(cause) }), { needs: ['db'] }),
        http: component(recorder(events, 'http'), { needs: ['broker'] }),
      },
    })
    const error = await service.start().catch((thrown: unknown) => thrown)
    expect(ServiceError.isInstance(error)).toBe(true)
    expect(error).toMatchObject({ code: 'ERR_SERVICE_START_FAILED', component: 'broker', cause })
    expect(aborted).toBe(error)
    expect(events).not.toContain('ready http')
    const closes = events.filter((event) => event.startsWith('close'))
    expect(closes[0]).toBe('close http')
    expect(closes.slice(1, 3).toSorted()).toEqual(['close broker', 'close slow'])
    expect(closes[3]).toBe('close db')
  })

  it('ends at startTimeoutMs even when a component ignores its signal', async () => {
    const events: string[] = []
    const service = createService({ name: 's', startTimeoutMs: 50, components: { a: recorder(events, 'a', { ready: never }) } })
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_START_TIMEOUT' })
    expect(events).toContain('close a')
  })

  it('that runs out of time names whom it waited for, whether those listen to the signal or not', async () => {
    const listens: Component['ready'] = (options) =>
      new Promise((_, reject) => options?.signal?.addEventListener('abort', () => reject(options.signal?.reason)))
    const service = createService({
      name: 's',
      startTimeoutMs: 50,
      components: {
        quick: { ready: async () => {}, close: async () => {} },
        db: { ready: listens, close: async () => {} },
        mq: { ready: never, close: async () => {} },
      },
    })
    await expect(service.start()).rejects.toMatchObject({
      code: 'ERR_SERVICE_START_TIMEOUT',
      component: 'db',
      message: 'starting took longer than 50 ms: waited for db, mq',
    })
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_START_TIMEOUT' })
  })

  it('gives the caller the reason of its own signal', async () => {
    const controller = new AbortController()
    const service = createService({ name: 's', components: { a: { ready: never, close: async () => {} } } })
    const started = service.start({ signal: controller.signal })
    const reason = new Error('enough')
    controller.abort(reason)
    await expect(started).rejects.toBe(reason)
  })
})

describe('stop', () => {
  it('fits the grace period whatever hangs, and names what was cut', async () => {
    const hanging: Component = { ready: async () => {}, quiesce: never, drain: never, close: never }
    const names = ['a', 'b', 'c', 'd', 'e']
    const components = Object.fromEntries(names.map((name, i) => [name, component({ ...hanging }, { needs: names.slice(0, i) })]))
    let closed = false
    components['good'] = component({ close: async () => void (closed = true) }, { needs: [] })
    const service = createService({ name: 's', gracePeriodMs: 2_000, components })
    await service.start()
    const from = performance.now()
    const report = await service.stop('test')
    // Planned: 1 800 ms. The rest is for a loaded machine, and still below the sum of what fifteen hanging calls would take one by one.
    expect(performance.now() - from).toBeGreaterThan(1_500)
    expect(performance.now() - from).toBeLessThan(4_000)
    expect([...report.cut].toSorted()).toEqual(names)
    expect(report.phases.reduce((sum, { durationMs }) => sum + durationMs, 0)).toBeLessThan(4_000)
    expect(closed).toBe(true)
  })

  it('aborts the signal of a drain at its deadline and passes a close timeout that fits', async () => {
    let reason: unknown
    let timeoutMs = Infinity
    const service = createService({
      name: 's',
      gracePeriodMs: 1_000,
      components: {
        a: {
          drain: (options) =>
            new Promise((_, reject) => options?.signal?.addEventListener('abort', () => reject((reason = options.signal?.reason)))),
          close: async (options) => {
            timeoutMs = options?.timeoutMs ?? Infinity
          },
        },
      },
    })
    await service.start()
    expect((await service.stop('test')).cut).toEqual(['a'])
    expect(reason).toMatchObject({ code: 'ERR_SERVICE_TIMEOUT', component: 'a' })
    expect(timeoutMs).toBeLessThanOrEqual(900)
  })

  it('goes on when a component fails, and reports it', async () => {
    const events: string[] = []
    const error = new Error('broken')
    const service = createService({
      name: 's',
      components: { bad: component({ close: () => Promise.reject(error) }, { needs: ['db'] }), db: recorder(events, 'db') },
    })
    await service.start()
    const report = await service.stop('test')
    expect(report.failed).toEqual([{ component: 'bad', phase: 'close', error }])
    expect(events).toContain('close db')
  })

  it('is not hurt by what reports: a logger, onEvent, stats and health that throw or hang', async () => {
    const broken = () => {
      throw new Error('closed stream')
    }
    const health = { ...createHealth({ checks: {} }), setState: broken, onChange: broken, close: never }
    const closes: string[] = []
    const service = createService({
      name: 's',
      health: { ...health, setState: (state) => void (state === 'ready' || broken()) },
      logger: { debug: broken, info: broken, warn: broken, error: broken },
      onEvent: broken,
      admin: { port: 0 },
      components: {
        pool: { stats: broken, close: async () => void closes.push('pool') },
        slow: { stats: () => Promise.reject(new Error('async')), close: async () => void closes.push('slow') },
      } as Record<string, Component>,
    })
    await service.start()
    expect(await service.stop('test')).toMatchObject({ cut: [], failed: [], requestsAfterSignal: 0 })
    expect(service.adminPort).toBeUndefined()
    expect(closes.toSorted()).toEqual(['pool', 'slow'])
  })

  it('tells what happens as events, each logged once', async () => {
    const events: string[] = []
    let up = true
    const lines: string[] = []
    const note = (_fields: object, message?: string) => void lines.push(message ?? '')
    const listeners = new Set<(event: object) => void>()
    const config = {
      close: async () => {},
      onReload: (listener: (event: object) => void) => (listeners.add(listener), () => listeners.delete(listener)),
    }
    const db = { close: async () => {}, check: () => (up ? Promise.resolve() : Promise.reject(new Error('down'))) }
    const service = createService({
      name: 's',
      version: '1.2.3',
      logger: { debug() {}, info: note, warn: note, error: note },
      onEvent: (event) => void events.push(event.type),
      components: { config, db: component(db, { check: { kind: 'critical', intervalMs: 10, fall: 1 } }) },
    })
    await service.start()
    await until(() => expect(events).toEqual(['starting', 'ready', 'not-ready', 'ready-again'].slice(0, events.length)))
    up = false
    await until(() => expect(events.at(-1)).toBe('not-ready'))
    up = true
    await until(() => expect(events.at(-1)).toBe('ready-again'))
    for (const listener of listeners) listener({ outcome: 'applied', revision: 2, changed: ['a'] })
    for (const listener of listeners) listener({ outcome: 'invalid', error: new Error('no') })
    await service.stop('test')
    expect(events.slice(-4)).toEqual(['reloaded', 'reload-refused', 'draining', 'stopped'])
    expect(lines.filter((line) => line === 'service stopped')).toHaveLength(1)
    expect(listeners.size).toBe(0)
  })

  it('shares its promise', async () => {
    let closes = 0
    const service = createService({ name: 's', components: { a: { close: async () => void closes++ } } })
    await service.start()
    const first = service.stop('one')
    expect(service.stop('two')).toBe(first)
    await first
    expect(closes).toBe(1)
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' })
  })

  it('during the start: the start rejects, everything is closed, health never was ready', async () => {
    const events: string[] = []
    const health = createHealth({ checks: {} })
    const service = createService({
      name: 's',
      health,
      components: {
        a: recorder(events, 'a', {
          ready: (options) => new Promise((_, reject) => options?.signal?.addEventListener('abort', () => reject(options.signal?.reason))),
        }),
      },
    })
    const started = service.start()
    const report = service.stop('test')
    await expect(started).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' })
    expect((await report).cut).toEqual([])
    expect(events).toContain('close a')
    expect(health.startup().status).toBe('fail')
    expect(health.readiness().state).toBe('stopped')
  })

  it('stopFast ends a drain under way and gives closing a second', async () => {
    const service = createService({
      name: 's',
      gracePeriodMs: 600_000,
      components: { a: { drain: never, close: async () => {} }, b: component({ close: never }, { needs: ['a'] }) },
    })
    await service.start()
    const graceful = service.stop('test')
    expect(service.stopFast('again')).toBe(graceful)
    expect([...(await graceful).cut].toSorted()).toEqual(['a', 'b'])
  })
})

describe('options', () => {
  it.each([
    ['name', { name: '', components: {} }],
    ['components.a', { name: 's', components: { a: {} } }],
    ['gracePeriodMs', { name: 's', components: {}, gracePeriodMs: 5 }],
    ['admin.port', { name: 's', components: {}, admin: { port: 70_000 } }],
    ['graceMs ', { name: 's', components: {}, graceMs: 5_000 }],
  ])('a wrong %s is named', (name, options) => {
    expect(() => createService(options as never)).toThrow(
      expect.objectContaining({ code: 'ERR_SERVICE_OPTION', message: expect.stringContaining(name) }),
    )
  })
})
