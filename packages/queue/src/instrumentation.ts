import { metrics, trace, type BatchObservableCallback, type Counter, type Histogram, type Meter, type Tracer } from '@opentelemetry/api'

/** Names of the OpenTelemetry messaging conventions: https://opentelemetry.io/docs/specs/semconv/messaging/ */
export const scopeName = '@platform/queue'
export const sentMessages = 'messaging.client.sent.messages'
export const consumedMessages = 'messaging.client.consumed.messages'
export const processDuration = 'messaging.process.duration'
export const operationDuration = 'messaging.client.operation.duration'
/** No convention exists for these. */
export const deadLetteredMessages = 'platform.queue.dead_lettered'
export const retriedMessages = 'platform.queue.retried'
/** Deliveries whose acknowledgement, retry or dead letter could not be stored; they come again. */
export const unsettledMessages = 'platform.queue.unsettled'
/** Deliveries that were lost, with their connection or lease, while a handler had them; they come again. */
export const lostDeliveries = 'platform.queue.lost'
/** Deliveries that an inbox recognised. */
export const duplicateMessages = 'platform.queue.duplicates'
export const queueDepth = 'platform.queue.depth'
export const oldestAge = 'platform.queue.oldest_age'
/** Exchanges that somebody had deleted, or groups. */
export const restoredTopology = 'platform.queue.restored'
/** Groups removed because nobody was there for long enough. */
export const expiredGroups = 'platform.queue.groups_expired'
export const outboxWaiting = 'platform.queue.outbox.waiting'
export const outboxLag = 'platform.queue.outbox.lag'

export const attribute = {
  system: 'messaging.system',
  destination: 'messaging.destination.name',
  group: 'messaging.consumer.group.name',
  operation: 'messaging.operation.name',
  operationType: 'messaging.operation.type',
  messageId: 'messaging.message.id',
  errorType: 'error.type',
} as const

export interface Instruments {
  readonly tracer: Tracer
  readonly sent: Counter
  readonly consumed: Counter
  readonly processed: Histogram
  readonly operation: Histogram
  readonly deadLettered: Counter
  readonly retried: Counter
  readonly unsettled: Counter
  readonly lost: Counter
  readonly duplicates: Counter
}

/** The API's proxies start to measure once an SDK is registered, in whatever order. */
export function createInstruments(): Instruments {
  const meter: Meter = metrics.getMeter(scopeName)
  return {
    tracer: trace.getTracer(scopeName),
    sent: meter.createCounter(sentMessages, { unit: '{message}', description: 'Messages handed to the broker' }),
    consumed: meter.createCounter(consumedMessages, { unit: '{message}', description: 'Messages delivered to a handler' }),
    processed: meter.createHistogram(processDuration, { unit: 's', description: 'Time in the handler' }),
    operation: meter.createHistogram(operationDuration, { unit: 's', description: 'Time of publish and settle calls' }),
    deadLettered: meter.createCounter(deadLetteredMessages, { unit: '{message}', description: 'Messages that failed for good' }),
    retried: meter.createCounter(retriedMessages, { unit: '{message}', description: 'Tries that failed and will be repeated' }),
    unsettled: meter.createCounter(unsettledMessages, { unit: '{message}', description: 'Deliveries that could not be settled' }),
    lost: meter.createCounter(lostDeliveries, { unit: '{message}', description: 'Deliveries lost while a handler had them' }),
    duplicates: meter.createCounter(duplicateMessages, { unit: '{message}', description: 'Deliveries that the inbox recognised' }),
  }
}

export function createRestoreCounter(system: string): Counter {
  const counter = metrics
    .getMeter(scopeName)
    .createCounter(restoredTopology, { unit: '{object}', description: 'Deleted exchanges or groups made anew' })
  return { add: (value, attributes) => counter.add(value, { [attribute.system]: system, ...attributes }) }
}

export function createExpiryCounter(system: string): { add(group: { destination: string; group: string }): void } {
  const counter = metrics
    .getMeter(scopeName)
    .createCounter(expiredGroups, { unit: '{group}', description: 'Groups removed because they had no member' })
  return {
    add: ({ destination, group }) =>
      counter.add(1, { [attribute.system]: system, [attribute.destination]: destination, [attribute.group]: group }),
  }
}

export interface BacklogInstruments {
  end(): void
}

/** What waits for a group, as this member last saw it; `read` tells nothing before it has seen anything. */
export function createBacklogInstruments(
  labels: Readonly<Record<string, string>>,
  read: () => { messages: number; oldestMs: number } | undefined,
): BacklogInstruments {
  const meter = metrics.getMeter(scopeName)
  const depth = meter.createObservableGauge(queueDepth, { unit: '{message}', description: 'Messages that wait and no member has' })
  const age = meter.createObservableGauge(oldestAge, { unit: 's', description: 'Age of the message begun last, 0 when none waits' })
  const observe: BatchObservableCallback = (result) => {
    const seen = read()
    if (seen === undefined) return
    result.observe(depth, seen.messages, labels)
    result.observe(age, seen.oldestMs / 1000, labels)
  }
  meter.addBatchObservableCallback(observe, [depth, age])
  return { end: () => meter.removeBatchObservableCallback(observe, [depth, age]) }
}

export interface OutboxInstruments {
  measured(backlog: { waiting: number; oldestMs: number }): void
  end(): void
}

export function createOutboxInstruments(): OutboxInstruments {
  const meter = metrics.getMeter(scopeName)
  const waiting = meter.createObservableGauge(outboxWaiting, { unit: '{message}', description: 'Messages due and not yet published' })
  const lag = meter.createObservableGauge(outboxLag, { unit: 's', description: 'Age of the oldest message due and not yet published' })
  let last: { waiting: number; oldestMs: number } | undefined
  const observe: BatchObservableCallback = (result) => {
    if (last === undefined) return
    result.observe(waiting, last.waiting)
    result.observe(lag, last.oldestMs / 1000)
  }
  meter.addBatchObservableCallback(observe, [waiting, lag])
  return {
    measured: (backlog) => void (last = backlog),
    end: () => meter.removeBatchObservableCallback(observe, [waiting, lag]),
  }
}
