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
  #process: ProcessCounts | undefined

  constructor(counts: LineCounts) {
    this.#counts = counts
  }

  bind(): void {
    const provider = metrics.getMeterProvider()
    if (provider === this.#process?.provider) return
    this.release()
    if (current?.provider !== provider) current = new ProcessCounts(provider)
    this.#process = current
    this.#process.add(this.#counts)
  }

  release(): void {
    this.#process?.remove(this.#counts)
  }
}

let current: ProcessCounts | undefined

/** All loggers of a process that one provider has: no label tells them apart, so that each figure is their sum. */
class ProcessCounts {
  readonly provider: MeterProvider
  readonly #open = new Set<LineCounts>()
  /** Of loggers that are closed, since a counter never falls. */
  readonly #past = { linesByLevel: new Map<string, number>(), dropped: 0, leftOut: 0 }
  #unobserve: (() => void) | undefined

  constructor(provider: MeterProvider) {
    this.provider = provider
  }

  add(counts: LineCounts): void {
    this.#open.add(counts)
    this.#unobserve ??= this.#observe(this.provider.getMeter('@platform/logger'))
  }

  remove(counts: LineCounts): void {
    if (!this.#open.delete(counts)) return
    addUp(this.#past.linesByLevel, counts.linesByLevel)
    this.#past.dropped += counts.dropped()
    this.#past.leftOut += counts.leftOut()
    if (this.#open.size > 0) return
    this.#unobserve?.()
    this.#unobserve = undefined
  }

  #sum(past: number, of: (counts: LineCounts) => number): number {
    return [...this.#open].reduce((sum, counts) => sum + of(counts), past)
  }

  #observe(meter: Meter): () => void {
    const lines = meter.createObservableCounter(LINES, { unit: '{line}', description: 'Lines logged' })
    const dropped = meter.createObservableCounter(DROPPED, { unit: '{line}', description: 'Lines lost' })
    const atRisk = meter.createObservableUpDownCounter(AT_RISK, { unit: '{line}', description: 'Lines that wait for their destination' })
    const leftOut = meter.createObservableCounter(LEFT_OUT, { unit: '{line}', description: 'Lines left out as repeated' })
    const onLines: ObservableCallback = (result) => {
      const sums = new Map(this.#past.linesByLevel)
      for (const { linesByLevel } of this.#open) addUp(sums, linesByLevel)
      for (const [level, count] of sums) result.observe(count, { [LEVEL]: level })
    }
    const onDropped: ObservableCallback = (result) => result.observe(this.#sum(this.#past.dropped, (counts) => counts.dropped()))
    const onAtRisk: ObservableCallback = (result) => result.observe(this.#sum(0, (counts) => counts.atRisk()))
    const onLeftOut: ObservableCallback = (result) => result.observe(this.#sum(this.#past.leftOut, (counts) => counts.leftOut()))
    lines.addCallback(onLines)
    dropped.addCallback(onDropped)
    atRisk.addCallback(onAtRisk)
    leftOut.addCallback(onLeftOut)
    return () => {
      lines.removeCallback(onLines)
      dropped.removeCallback(onDropped)
      atRisk.removeCallback(onAtRisk)
      leftOut.removeCallback(onLeftOut)
    }
  }
}

function addUp(sums: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [level, count] of counts) sums.set(level, (sums.get(level) ?? 0) + count)
}
