import {
  context,
  propagation,
  ROOT_CONTEXT,
  trace,
  type Context,
  type Span,
  type TextMapPropagator,
  type TracerProvider,
} from '@opentelemetry/api'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { memory } from './drivers/memory.ts'
import { createBroker, defineMessage, noopBroker, QueueError, type Broker, type QueueDriver } from './index.ts'
import { uuidv7 } from './uuid.ts'

const ping = defineMessage('ping', { version: 1, schema: z.object({ n: z.number() }) })
const code = (expected: string): Error => expect.objectContaining({ code: expected }) as Error

/** A broker whose driver never answers a publish. */
function silent(options: { publishTimeoutMs?: number; maxPendingPublishes?: number }): Broker {
  const inner = memory()
  const driver: QueueDriver = {
    name: 'silent',
    open: (driverContext) => Object.assign(inner.open(driverContext), { publish: () => new Promise<void>(() => {}) }),
  }
  return createBroker({ driver, service: 'test', ...options })
}

describe('createBroker', () => {
  it.each([
    [{ service: 'a b' }, /service/],
    [{ driver: {} }, /driver/],
    [{ publishTimeoutMs: 1 }, /publishTimeoutMs/],
    [{ maxPendingPublishes: 0 }, /maxPendingPublishes/],
    [{ retries: 3 }, /retries is unknown/],
  ])('refuses %o', (options, text) => {
    const all = { driver: memory(), service: 'test', ...options } as never
    expect(() => createBroker(all)).toThrow(text)
  })

  it('refuses consume options that contradict each other', async () => {
    await using broker = createBroker({ driver: memory(), service: 'test' })
    const consume = (options: object): Promise<unknown> => broker.consume(ping, async () => {}, options as never)
    await expect(consume({ group: 'broadcast', ordered: true })).rejects.toThrow(/ordered/)
    await expect(consume({ group: 'broadcast', inbox: {} })).rejects.toThrow(/inbox/)
    await expect(consume({ group: 'g', concurrency: 0 })).rejects.toThrow(/concurrency/)
    await expect(consume({ group: 'g h' })).rejects.toThrow(/group/)
  })

  it('refuses a body that does not fit without quoting it', async () => {
    await using broker = createBroker({ driver: memory(), service: 'test' })
    const error = await broker.publish(ping, { n: 'secret' } as never).catch((caught: unknown) => caught)
    expect(QueueError.isInstance(error) && error.code).toBe('ERR_QUEUE_INVALID')
    expect(String(error)).not.toContain('secret')
  })

  it('refuses by code what has no form on the wire, whichever function of the user says so, with its error as the cause', async () => {
    await using broker = createBroker({ driver: memory(), service: 'test' })
    const no = new Error('no')
    const fail = (): never => {
      throw no
    }
    const any = defineMessage('any', { version: 1, schema: z.any() })
    const circular: { self?: object } = {}
    circular.self = circular
    for (const body of [1n, circular, { toJSON: fail }, { toJSON: () => undefined }, () => 1]) {
      await expect(broker.publish(any, body)).rejects.toThrow(code('ERR_QUEUE_INVALID'))
    }
    const keyed = defineMessage('keyed', { version: 1, schema: z.any(), key: fail })
    const checked = defineMessage('checked', { version: 1, schema: z.any().refine(fail) })
    // What it rejects with is heard, at its first value as well: nothing is left unhandled.
    const awaited = defineMessage('awaited', { version: 1, schema: z.any().refine(async () => fail()) })
    for (const message of [keyed, checked, awaited]) {
      await expect(broker.publish(message, 1)).rejects.toMatchObject({ code: 'ERR_QUEUE_INVALID', cause: no })
      await expect(broker.prepare(message, 1)).rejects.toMatchObject({ code: 'ERR_QUEUE_INVALID', cause: no })
    }
  })

  it.each([Number.POSITIVE_INFINITY, Number.NaN, -1, 2 ** 31, 2 ** 53])('closes whatever its time is said to be: %d', async (timeoutMs) => {
    const warned = vi.fn<(warning: Error) => void>()
    process.on('warning', warned)
    const closed = vi.fn<() => Promise<void>>(async () => {})
    const inner = memory()
    const driver: QueueDriver = { name: 'watched', open: (given) => Object.assign(inner.open(given), { close: closed }) }
    const broker = createBroker({ driver, service: 'test' })
    const consumer = await broker.consume(ping, async () => {}, { group: 'g' })
    await consumer.close({ timeoutMs })
    await broker.close({ timeoutMs })
    expect(closed).toHaveBeenCalledOnce()
    await new Promise(setImmediate)
    process.off('warning', warned)
    expect(warned).not.toHaveBeenCalled()
  })

  it('lets nobody wait for handlers that close has given up', async () => {
    const broker = createBroker({ driver: memory(), service: 'test' })
    const begun = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const consumer = await broker.consume(ping, () => (begun.resolve(), gate.promise), { group: 'g' })
    await broker.publish(ping, { n: 1 })
    await begun.promise
    const drains = [consumer.drain(), broker.drain(), broker.drain({ signal: new AbortController().signal })]
    const outcomes = Promise.allSettled(drains)
    await broker.close({ timeoutMs: 10 })
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_QUEUE_CLOSED' } })
    gate.resolve()
  })

  it('stops waiting for a silent broker at the deadline, at the abort and when too many wait', async () => {
    const broker = silent({ publishTimeoutMs: 50, maxPendingPublishes: 2 })
    const abort = new AbortController()
    const reason = new Error('gone')
    const first = broker.publish(ping, { n: 1 }, { signal: abort.signal })
    const second = broker.publish(ping, { n: 2 })
    await vi.waitFor(() => expect(broker.stats().pendingPublishes).toBe(2))
    await expect(broker.publish(ping, { n: 3 })).rejects.toThrow(code('ERR_QUEUE_OVERFLOW'))
    abort.abort(reason)
    await expect(first).rejects.toBe(reason)
    await expect(second).rejects.toThrow(code('ERR_QUEUE_TIMEOUT'))
    expect(broker.stats().pendingPublishes).toBe(0)
    await broker.close({ timeoutMs: 100 })
  })

  it('closes the consumers it made, once, for all callers', async () => {
    const broker = createBroker({ driver: memory(), service: 'test' })
    await broker.consume(ping, async () => {}, { group: 'g' })
    const consumer = await broker.consume(ping, async () => {}, { group: 'h' })
    await consumer.close()
    expect(broker.stats().consumers).toBe(1)
    const closing = broker.close()
    expect(broker.close()).toBe(closing)
    await closing
    expect(broker.stats().consumers).toBe(0)
  })

  it('runs outbound hooks at publish and inbound hooks around the handler, the first outermost', async () => {
    const log: string[] = []
    const hook =
      (name: string) =>
      <T>(request: { headers: Record<string, string | string[] | undefined> }, run: () => T): T => {
        log.push(`${name}:${String(request.headers['x-tenant'])}`)
        return run()
      }
    await using broker = createBroker({
      driver: memory(),
      service: 'test',
      outbound: [(headers) => void (headers['x-tenant'] = 'acme')],
      inbound: [hook('outer'), hook('inner')],
    })
    await broker.consume(ping, async ({ headers }) => void log.push(`handler:${headers['x-tenant']}`), { group: 'g' })
    await broker.publish(ping, { n: 1 })
    await vi.waitFor(() => expect(log).toEqual(['outer:acme', 'inner:acme', 'handler:acme']))
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('disk full')
      },
    ], // prettier-ignore
    ['rejects', () => Promise.reject(new Error('disk full'))],
  ])('goes on with a logger that %s', async (_how, fail) => {
    const logger = { debug: fail, info: fail, warn: fail, error: fail }
    await using broker = createBroker({ driver: memory(), service: 'test', logger })
    const consumer = await broker.consume(ping, () => Promise.reject(new Error('bad')), { group: 'g', retry: { maxAttempts: 1 } })
    await broker.publish(ping, { n: 1 })
    await vi.waitFor(() => expect(consumer.stats()).toMatchObject({ deadLettered: 1, inFlight: 0 }))
  })

  it('has a broker that does nothing', async () => {
    const { id } = await noopBroker.publish(ping, { n: 1 })
    expect(id).toMatch(/^[0-9a-f-]{36}$/)
    await (await noopBroker.consume(ping, async () => {}, { group: 'g' })).close()
    await noopBroker.close()
  })
})

describe('telemetry', () => {
  afterEach(() => {
    trace.disable()
    propagation.disable()
    context.disable()
  })

  it('makes the processing a child of the publishing, across the broker', async () => {
    const spans: { name: string; kind: number | undefined; id: string; parent: string | undefined }[] = []
    const provider: TracerProvider = {
      getTracer: () => ({
        startSpan(name, options, parent) {
          const id = (spans.length + 1).toString(16).padStart(16, '0')
          spans.push({ name, kind: options?.kind, id, parent: trace.getSpanContext(parent ?? ROOT_CONTEXT)?.spanId })
          return trace.wrapSpanContext({ traceId: '1'.repeat(32), spanId: id, traceFlags: 1 })
        },
        startActiveSpan: () => undefined as never,
      }),
    }
    const propagator: TextMapPropagator = {
      fields: () => ['traceparent'],
      inject(from: Context, carrier, setter) {
        const active = trace.getSpanContext(from)
        if (active !== undefined) setter.set(carrier, 'traceparent', `00-${active.traceId}-${active.spanId}-01`)
      },
      extract(into: Context, carrier, getter) {
        const [, traceId, spanId] = String(getter.get(carrier, 'traceparent')).split('-')
        if (traceId === undefined || spanId === undefined) return into
        return trace.setSpan(into, trace.wrapSpanContext({ traceId, spanId, traceFlags: 1, isRemote: true }) as Span)
      },
    }
    const stack: Context[] = [ROOT_CONTEXT]
    context.setGlobalContextManager({
      active: () => stack.at(-1) as Context,
      with(active, run, self, ...args) {
        stack.push(active)
        try {
          return run.call(self as never, ...args)
        } finally {
          stack.pop()
        }
      },
      bind: (_active, target) => target,
      enable() {
        return this
      },
      disable() {
        return this
      },
    })
    trace.setGlobalTracerProvider(provider)
    propagation.setGlobalPropagator(propagator)

    await using broker = createBroker({ driver: memory(), service: 'test' })
    const consumer = await broker.consume(ping, async () => {}, { group: 'g' })
    await broker.publish(ping, { n: 1 })
    await vi.waitFor(() => expect(consumer.stats().processed).toBe(1))
    expect(spans).toEqual([
      { name: 'publish ping.v1', kind: 3, id: '0000000000000001', parent: undefined },
      { name: 'process ping.v1', kind: 4, id: '0000000000000002', parent: '0000000000000001' },
    ])
  })
})

describe('uuidv7', () => {
  it('is well formed, unique and grows within a millisecond and when the clock goes back', () => {
    const ids = Array.from({ length: 10_000 }, (_, index) => uuidv7(1_700_000_000_000 - index))
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.toSorted()).toEqual(ids)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })
})

describe('a consumer as a component', () => {
  /** A driver whose server is away until `come` is called. */
  function away(): { driver: QueueDriver; come: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>()
    const inner = memory()
    return {
      come: resolve,
      driver: {
        name: 'away',
        open(driverContext) {
          const session = inner.open(driverContext)
          return Object.assign(session, {
            subscribe: async (...args: Parameters<typeof session.subscribe>) => {
              await promise
              return inner.open(driverContext).subscribe(...args)
            },
          })
        },
      },
    }
  }

  it('is made synchronously, is no thenable, checks its options at once and subscribes in ready', async () => {
    await using broker = createBroker({ driver: memory(), service: 'test' })
    expect(() => broker.consumer(ping, async () => {}, { group: 'a b' })).toThrow(code('ERR_QUEUE_OPTION'))
    expect(() => broker.consumer(ping, 'no' as never, { group: 'g' })).toThrow(/handler/)
    const seen: number[] = []
    const consumer = broker.consumer(ping, async ({ body }) => void seen.push(body.n), { group: 'g' })
    expect(consumer).not.toHaveProperty('then')
    await expect(broker.publish(ping, { n: 1 })).rejects.toThrow(code('ERR_QUEUE_UNROUTABLE'))
    await consumer.ready()
    await consumer.ready()
    await broker.publish(ping, { n: 2 })
    await vi.waitFor(() => expect(seen).toEqual([2]))
  })

  it('waits for its server, says for what, is bounded by the signal and subscribes when the server comes', async () => {
    vi.useFakeTimers()
    try {
      const warnings: string[] = []
      const logger = { debug() {}, info() {}, error() {}, warn: (_fields: object, text?: string) => void warnings.push(text ?? '') }
      const { driver, come } = away()
      const broker = createBroker({ driver, service: 'test', logger })
      const consumer = broker.consumer(ping, async () => {}, { group: 'g' })
      const reason = new Error('the start took too long')
      const abort = new AbortController()
      const ready = consumer.ready({ signal: abort.signal }).catch((error: unknown) => error)
      await vi.advanceTimersByTimeAsync(2_000)
      expect(warnings).toEqual(['consumer waits for away: it cannot subscribe yet'])
      await expect(consumer.check()).rejects.toThrow(/ping\.v1 \(group g\) has not subscribed yet: it waits for away/)
      expect(await broker.check()).toMatchObject({ status: 'warn', message: expect.stringMatching(/group g/) as string })
      abort.abort(reason)
      expect(await ready).toBe(reason)
      come()
      await consumer.ready()
      expect(await consumer.check()).toBeUndefined()
      await broker.close()
      await expect(consumer.ready()).rejects.toThrow(code('ERR_QUEUE_CLOSED'))
    } finally {
      vi.useRealTimers()
    }
  })

  it('closes while it waits, and what it subscribed late is closed as well', async () => {
    const { driver, come } = away()
    const broker = createBroker({ driver, service: 'test' })
    const waiting = broker.consume(ping, async () => {}, { group: 'g' }).catch((error: unknown) => error)
    await broker.close({ timeoutMs: 100 })
    expect(await waiting).toMatchObject({ code: 'ERR_QUEUE_CLOSED' })
    come()
    expect(broker.stats().consumers).toBe(0)
  })
})
