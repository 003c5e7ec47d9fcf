import {
  context,
  isSpanContextValid,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
} from '@opentelemetry/api'
import type { Envelope } from './envelope.ts'
import { nameOf } from './error-text.ts'
import { attribute, type Instruments } from './instrumentation.ts'

type Metrics = Readonly<Record<string, string>>

/** What spans and metrics of one consumer have in common: made once. */
export interface ProcessLabels {
  readonly span: string
  readonly metrics: Metrics
  readonly spanAttributes: Attributes
  readonly operations: Readonly<Record<'ack' | 'retry' | 'deadLetter', Metrics>>
}

export function processLabels(system: string, destination: string, group: string): ProcessLabels {
  const metrics = { [attribute.system]: system, [attribute.destination]: destination, [attribute.group]: group }
  const of = (operation: string): Metrics => ({ ...metrics, [attribute.operation]: operation })
  return {
    span: `process ${destination}`,
    metrics,
    spanAttributes: { ...of('process'), [attribute.operationType]: 'process' },
    operations: { ack: of('ack'), retry: of('retry'), deadLetter: of('deadLetter') },
  }
}

/** One try of a handler as traces and metrics see it. */
export class ProcessTrace {
  readonly #instruments: Instruments
  readonly #span: Span
  /** Entering a context copies it: not where nobody traces. */
  readonly #inside: Context | undefined
  readonly #startedAt = performance.now()
  #metrics: Metrics

  constructor(instruments: Instruments, labels: ProcessLabels, { id, headers }: Envelope) {
    const active = context.active()
    const published = propagation.extract(active, headers)
    // A hook may have continued the message's trace already; then this span belongs below the hook's.
    const parent = trace.getSpan(active) === undefined ? published : active
    const creation = trace.getSpanContext(published)
    this.#instruments = instruments
    this.#metrics = labels.metrics
    this.#span = instruments.tracer.startSpan(
      labels.span,
      {
        kind: SpanKind.CONSUMER,
        attributes: { ...labels.spanAttributes, [attribute.messageId]: id },
        ...(creation === undefined ? {} : { links: [{ context: creation }] }),
      },
      parent,
    )
    instruments.consumed.add(1, labels.metrics)
    const inside = isSpanContextValid(this.#span.spanContext()) ? trace.setSpan(parent, this.#span) : parent
    this.#inside = inside === active ? undefined : inside
  }

  within<T>(work: () => T): T {
    return this.#inside === undefined ? work() : context.with(this.#inside, work)
  }

  failed(error: unknown): void {
    const failure = { [attribute.errorType]: nameOf(error) }
    this.#metrics = { ...this.#metrics, ...failure }
    this.#span.setStatus({ code: SpanStatusCode.ERROR })
    this.#span.setAttributes(failure)
  }

  end(): void {
    this.#span.end()
    this.#instruments.processed.record((performance.now() - this.#startedAt) / 1000, this.#metrics)
  }
}
