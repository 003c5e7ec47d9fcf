import { type Attributes, metrics, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { DbPoolStats } from './connection.ts'
import { sqlState } from './errors.ts'

/** https://opentelemetry.io/docs/specs/semconv/database/database-metrics/ */
export const metricNames = {
  operationDuration: 'db.client.operation.duration',
  connectionCount: 'db.client.connection.count',
  connectionMax: 'db.client.connection.max',
  pendingRequests: 'db.client.connection.pending_requests',
  timeouts: 'db.client.connection.timeouts',
  createTime: 'db.client.connection.create_time',
  waitTime: 'db.client.connection.wait_time',
  useTime: 'db.client.connection.use_time',
  leftovers: 'platform.db_pool.leftovers',
} as const

export const attributeNames = {
  poolName: 'db.client.connection.pool.name',
  state: 'db.client.connection.state',
  system: 'db.system.name',
  operation: 'db.operation.name',
  errorType: 'error.type',
  leftover: 'platform.db_pool.leftover',
} as const

export const spanName = 'db.query'

const scope = '@platform/db-pool'
const buckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

export interface Operation {
  end(error?: unknown): void
}

/** What the pool reports. Without a registered SDK every call below ends in an empty function. */
export interface Instruments {
  waitTime(ms: number): void
  useTime(ms: number): void
  createTime(ms: number): void
  timeout(): void
  /** A connection came back with something of its borrower: `statement`, `transaction` or `session`. */
  leftover(kind: string): void
  operation(name: string): Operation
  close(): void
}

export function createInstruments(poolName: string, maxSize: number, stats: () => DbPoolStats): Instruments {
  const meter = metrics.getMeter(scope)
  const tracer = trace.getTracer(scope)
  const pool: Attributes = { [attributeNames.poolName]: poolName }
  const seconds = (name: string) => meter.createHistogram(name, { unit: 's', advice: { explicitBucketBoundaries: buckets } })
  const duration = seconds(metricNames.operationDuration)
  const waitTime = seconds(metricNames.waitTime)
  const useTime = seconds(metricNames.useTime)
  const createTime = seconds(metricNames.createTime)
  const timeouts = meter.createCounter(metricNames.timeouts, { unit: '{timeout}' })

  const leftovers = meter.createCounter(metricNames.leftovers, { unit: '{connection}' })
  const count = meter.createObservableUpDownCounter(metricNames.connectionCount, { unit: '{connection}' })
  const max = meter.createObservableUpDownCounter(metricNames.connectionMax, { unit: '{connection}' })
  const pending = meter.createObservableUpDownCounter(metricNames.pendingRequests, { unit: '{request}' })
  const gauges = [count, max, pending]
  const observe: Parameters<typeof meter.addBatchObservableCallback>[0] = (result) => {
    const { idle, inUse, waiting } = stats()
    result.observe(count, idle, { ...pool, [attributeNames.state]: 'idle' })
    result.observe(count, inUse, { ...pool, [attributeNames.state]: 'used' })
    result.observe(max, maxSize, pool)
    result.observe(pending, waiting, pool)
  }
  meter.addBatchObservableCallback(observe, gauges)

  const attributes = new Map<string, Attributes>()
  const attributesOf = (name: string): Attributes => {
    let known = attributes.get(name)
    if (known === undefined) {
      known = { [attributeNames.system]: 'postgresql', [attributeNames.operation]: name, ...pool }
      attributes.set(name, known)
    }
    return known
  }

  return {
    waitTime: (ms) => waitTime.record(ms / 1_000, pool),
    useTime: (ms) => useTime.record(ms / 1_000, pool),
    createTime: (ms) => createTime.record(ms / 1_000, pool),
    timeout: () => timeouts.add(1, pool),
    leftover: (kind) => leftovers.add(1, { ...pool, [attributeNames.leftover]: kind }),
    operation(name) {
      const facts = attributesOf(name)
      const span = tracer.startSpan(spanName, { kind: SpanKind.CLIENT, attributes: facts })
      return new RunningOperation(span, facts, (s, a) => duration.record(s, a))
    },
    close: () => meter.removeBatchObservableCallback(observe, gauges),
  }
}

class RunningOperation implements Operation {
  readonly #span: Span
  readonly #attributes: Attributes
  readonly #record: (seconds: number, attributes: Attributes) => void
  readonly #since = performance.now()

  constructor(span: Span, attributes: Attributes, record: (seconds: number, attributes: Attributes) => void) {
    this.#span = span
    this.#attributes = attributes
    this.#record = record
  }

  end(error?: unknown): void {
    const seconds = (performance.now() - this.#since) / 1_000
    if (error === undefined) {
      this.#record(seconds, this.#attributes)
    } else {
      const type = sqlState(error) ?? (error as { code?: string } | null)?.code ?? (error as Error | null)?.name ?? 'error'
      this.#record(seconds, { ...this.#attributes, [attributeNames.errorType]: type })
      this.#span.setAttribute(attributeNames.errorType, type)
      this.#span.setStatus({ code: SpanStatusCode.ERROR })
    }
    this.#span.end()
  }
}
