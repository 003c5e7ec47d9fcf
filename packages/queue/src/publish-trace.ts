import { context, isSpanContextValid, SpanKind, SpanStatusCode, trace, type Context, type Span, type SpanOptions } from '@opentelemetry/api'
import { QueueError } from './errors.ts'
import { attribute, type Instruments } from './instrumentation.ts'

/** What spans and metrics of one destination's publishes have in common: made once. */
export interface PublishLabels {
  readonly span: string
  readonly spanOptions: SpanOptions
  readonly metrics: Readonly<Record<string, string>>
}

export function publishLabels(system: string, destination: string): PublishLabels {
  const metrics = { [attribute.system]: system, [attribute.destination]: destination, [attribute.operation]: 'publish' }
  return {
    span: `publish ${destination}`,
    spanOptions: { kind: SpanKind.PRODUCER, attributes: { ...metrics, [attribute.operationType]: 'send' } },
    metrics,
  }
}

/** One publish as traces and metrics see it. */
export class PublishTrace {
  readonly #instruments: Instruments
  readonly #span: Span
  /** Entering a context copies it: not where nobody traces. */
  readonly #inside: Context | undefined
  readonly #startedAt = performance.now()
  #metrics: Readonly<Record<string, string>>

  constructor(instruments: Instruments, labels: PublishLabels, parent: Context) {
    this.#instruments = instruments
    this.#metrics = labels.metrics
    this.#span = instruments.tracer.startSpan(labels.span, labels.spanOptions, parent)
    const inside = isSpanContextValid(this.#span.spanContext()) ? trace.setSpan(parent, this.#span) : parent
    this.#inside = inside === context.active() ? undefined : inside
  }

  within<T>(work: () => T): T {
    return this.#inside === undefined ? work() : context.with(this.#inside, work)
  }

  /** With an error when it failed. */
  end(error?: unknown): void {
    if (error !== undefined) this.#failed(error)
    const { sent, operation } = this.#instruments
    this.#span.end()
    sent.add(1, this.#metrics)
    operation.record((performance.now() - this.#startedAt) / 1000, this.#metrics)
  }

  #failed(error: unknown): void {
    const failure = { [attribute.errorType]: QueueError.isInstance(error) ? error.code : 'aborted' }
    this.#metrics = { ...this.#metrics, ...failure }
    this.#span.setStatus({ code: SpanStatusCode.ERROR })
    this.#span.setAttributes(failure)
  }
}
