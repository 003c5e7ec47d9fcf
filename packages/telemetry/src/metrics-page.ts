import type { MetricReader } from '@opentelemetry/sdk-metrics'
import { guarded } from '@platform/kernel'
import type { ExemplarMeter } from './durations.ts'
import type { LoggerLike } from './options.ts'
import { type Format, overflowing, renderPage } from './prometheus-page.ts'

/** What scrapers get. Those that come at once share one page. */
export class MetricsPage {
  readonly #reader: MetricReader
  readonly #measured: ExemplarMeter
  readonly #logger: LoggerLike | undefined
  readonly #rendering = new Map<Format, Promise<string>>()
  readonly #toldOverflows = new Set<string>()

  constructor(reader: MetricReader, measured: ExemplarMeter, logger: LoggerLike | undefined) {
    this.#reader = reader
    this.#measured = measured
    this.#logger = logger
  }

  text(format: Format): Promise<string> {
    let rendering = this.#rendering.get(format)
    if (rendering === undefined) {
      rendering = this.#render(format).finally(() => this.#rendering.delete(format))
      this.#rendering.set(format, rendering)
    }
    return rendering
  }

  async #render(format: Format): Promise<string> {
    const { resourceMetrics, errors } = await this.#reader.collect()
    for (const err of errors) this.#warn({ err }, 'a metric could not be read')
    for (const metric of overflowing(resourceMetrics)) {
      if (this.#toldOverflows.has(metric)) continue
      this.#toldOverflows.add(metric)
      this.#warn({ metric }, 'a metric has more series than are kept: the rest is counted together as otel_metric_overflow')
    }
    return renderPage(resourceMetrics, format, (metric, series, bucket) => this.#measured.exemplar(metric, series, bucket))
  }

  #warn(fields: object, message: string): void {
    guarded(() => this.#logger?.warn(fields, message))
  }
}
