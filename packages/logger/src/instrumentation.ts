import {
  isSpanContextValid,
  type Meter,
  type MeterProvider,
  metrics,
  type ObservableCallback,
  type SpanContext,
  trace,
} from '@opentelemetry/api'

/** Counter of lines handed to the destination or its buffer, by `level`. */
export const LINES = 'platform.logger.lines'
/** Counter of lines that were lost because the destination took nothing and the buffer was full, or is gone. */
export const DROPPED = 'platform.logger.dropped'
/** Lines that wait in memory now; lost if the process is killed. */
export const AT_RISK = 'platform.logger.at_risk'
/** Counter of lines that were left out because their message was repeated. */
export const LEFT_OUT = 'platform.logger.left_out'
export const LEVEL = 'level'

export interface SpanIds {
  readonly traceId: string
  readonly spanId: string
  /** Two hexadecimal digits. */
  readonly flags: string
}

export function activeSpan(): SpanIds | undefined {
  let context: SpanContext | undefined
  try {
    context = trace.getActiveSpan()?.spanContext()
  } catch {
    return undefined // an SDK that fails costs the ids, not the line
  }
  if (!context || !isSpanContextValid(context)) return undefined
  return { traceId: context.traceId, spanId: context.spanId, flags: context.traceFlags.toString(16).padStart(2, '0') }
}

export interface LineCounts {
  readonly linesByLevel: ReadonlyMap<string, number>
  readonly dropped: () => number
  readonly leftOut: () => number
  readonly atRisk: () => number
}

/** Reports counts when someone reads metrics; a line costs nothing more. Loggers come before the SDK, so the provider is looked at again. */
export class LoggerMetrics {
  readonly #counts: LineCounts
  #provider: MeterProvider | undefined
  #remove: (() => void) | undefined

  constructor(counts: LineCounts) {
    this.#counts = counts
  }

  bind(): void {
    const provider = metrics.getMeterProvider()
    if (provider === this.#provider) return
    this.release()
    this.#provider = provider
    this.#observe(provider.getMeter('@platform/logger'))
  }

  release(): void {
    this.#remove?.()
    this.#remove = undefined
  }

  #observe(meter: Meter): void {
    const lines = meter.createObservableCounter(LINES, { unit: '{line}', description: 'Lines logged' })
    const dropped = meter.createObservableCounter(DROPPED, { unit: '{line}', description: 'Lines lost' })
    const onLines: ObservableCallback = (result) => {
      for (const [level, count] of this.#counts.linesByLevel) result.observe(count, { [LEVEL]: level })
    }
    const onDropped: ObservableCallback = (result) => result.observe(this.#counts.dropped())
    const atRisk = meter.createObservableUpDownCounter(AT_RISK, { unit: '{line}', description: 'Lines that wait for their destination' })
    const onAtRisk: ObservableCallback = (result) => result.observe(this.#counts.atRisk())
    const leftOut = meter.createObservableCounter(LEFT_OUT, { unit: '{line}', description: 'Lines left out as repeated' })
    const onLeftOut: ObservableCallback = (result) => result.observe(this.#counts.leftOut())
    leftOut.addCallback(onLeftOut)
    atRisk.addCallback(onAtRisk)
    lines.addCallback(onLines)
    dropped.addCallback(onDropped)
    this.#remove = () => {
      lines.removeCallback(onLines)
      dropped.removeCallback(onDropped)
      atRisk.removeCallback(onAtRisk)
      leftOut.removeCallback(onLeftOut)
    }
  }
}
