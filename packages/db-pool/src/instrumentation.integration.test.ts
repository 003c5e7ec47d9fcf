import { type Attributes, metrics, trace } from '@opentelemetry/api'
import { testPostgres } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDbPool } from './index.ts'

interface Point {
  name: string
  value: number
  attributes: Attributes
}
type Observe = (result: { observe(instrument: { name: string }, value: number, attributes: Attributes): void }) => void

/** The least of an SDK: keeps what it is given. */
class Recorder {
  readonly points: Point[] = []
  readonly spans: { name: string; attributes: Attributes; failed: boolean; ended: boolean }[] = []
  readonly observers = new Set<Observe>()

  readonly meter = {
    createHistogram: (name: string) => ({
      record: (value: number, attributes: Attributes) => this.points.push({ name, value, attributes }),
    }),
    createCounter: (name: string) => ({ add: (value: number, attributes: Attributes) => this.points.push({ name, value, attributes }) }),
    createObservableUpDownCounter: (name: string) => ({ name }),
    addBatchObservableCallback: (observe: Observe) => this.observers.add(observe),
    removeBatchObservableCallback: (observe: Observe) => this.observers.delete(observe),
  }
  readonly tracer = {
    startSpan: (name: string, options: { attributes: Attributes }) => {
      const span = { name, attributes: { ...options.attributes }, failed: false, ended: false }
      this.spans.push(span)
      return {
        setAttribute: (key: string, value: string) => (span.attributes[key] = value),
        setStatus: () => (span.failed = true),
        end: () => (span.ended = true),
      }
    },
  }

  of(name: string): Point[] {
    return this.points.filter((point) => point.name === name)
  }
  gauges(): Record<string, number> {
    const seen: Record<string, number> = {}
    for (const observe of this.observers) {
      observe({
        observe: (instrument, value, attributes) => {
          seen[[instrument.name, attributes['db.client.connection.state']].filter(Boolean).join(' ')] = value
        },
      })
    }
    return seen
  }
}

const recorder = new Recorder()
let database: Awaited<ReturnType<typeof testPostgres>>

beforeAll(async () => {
  metrics.setGlobalMeterProvider({ getMeter: () => recorder.meter } as never)
  trace.setGlobalTracerProvider({ getTracer: () => recorder.tracer } as never)
  database = await testPostgres()
})
afterAll(async () => {
  metrics.disable()
  trace.disable()
  await database.close()
})

describe('telemetry', () => {
  it('names each operation, its outcome and its pool, and never its text', async () => {
    const db = createDbPool({ url: database.url, name: 'orders', maxSize: 2 })
    await db.query('/* secret */ select 1')
    await db.query('insert into nowhere values (1)').catch(() => {})
    const facts = { 'db.system.name': 'postgresql', 'db.client.connection.pool.name': 'orders' }
    expect(recorder.of('db.client.operation.duration').map(({ attributes }) => attributes)).toEqual([
      { ...facts, 'db.operation.name': 'SELECT' },
      { ...facts, 'db.operation.name': 'INSERT', 'error.type': '42P01' },
    ])
    expect(recorder.spans.map(({ name, failed, ended }) => [name, failed, ended])).toEqual([
      ['db.query', false, true],
      ['db.query', true, true],
    ])
    expect(JSON.stringify([recorder.spans, recorder.points])).not.toContain('secret')
    await db.close()
  })

  it('shows the pool, and is silent after close', async () => {
    const db = createDbPool({ url: database.url, name: 'orders', maxSize: 1, acquireTimeoutMs: 2_000 })
    recorder.points.length = 0
    const held = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    const holder = db.withConnection(() => {
      started.resolve()
      return held.promise
    })
    await started.promise
    const waiting = db.query('select 1')
    expect(recorder.gauges()).toEqual({
      'db.client.connection.count idle': 0,
      'db.client.connection.count used': 1,
      'db.client.connection.max': 1,
      'db.client.connection.pending_requests': 1,
    })
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_DB_POOL_ACQUIRE_TIMEOUT' })
    held.resolve()
    await holder
    expect(recorder.of('db.client.connection.timeouts')).toHaveLength(1)
    for (const name of ['create_time', 'wait_time', 'use_time'])
      expect(recorder.of(`db.client.connection.${name}`).length).toBeGreaterThan(0)
    await db.close()
    expect(recorder.gauges()).toEqual({})
  })
})
