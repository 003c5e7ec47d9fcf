import { type Counter, type Histogram, type MeterProvider, metrics } from '@opentelemetry/api'

/** https://opentelemetry.io/docs/specs/semconv/http/ */
export const SCOPE = '@platform/gateway'
export const METRIC_REQUEST_DURATION = 'http.server.request.duration'
export const METRIC_VERDICTS = 'platform.gateway.verdicts'
export const METRIC_KEY_FETCHES = 'platform.gateway.key.fetches'
export const METRIC_RELOADS = 'platform.gateway.reloads'
export const METRIC_TRACES = 'platform.gateway.traces'
export const METRIC_LOG_LINES_UNREAD = 'platform.gateway.log_lines.unread'

const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

interface Instruments {
  readonly provider: MeterProvider
  readonly duration: Histogram
  readonly verdicts: Counter
  readonly keyFetches: Counter
  readonly reloads: Counter
  readonly traces: Counter
  readonly unreadLines: Counter
}

let current: Instruments | undefined

/** The API hands out dead instruments until an SDK registers, so a new provider means new instruments. */
export function instruments(): Instruments {
  const provider = metrics.getMeterProvider()
  if (current?.provider !== provider) {
    const meter = provider.getMeter(SCOPE)
    current = {
      provider,
      duration: meter.createHistogram(METRIC_REQUEST_DURATION, { unit: 's', advice: { explicitBucketBoundaries: durationBuckets } }),
      verdicts: meter.createCounter(METRIC_VERDICTS, {
        unit: '{request}',
        description: 'Requests that the verifier was asked about, by its answer',
      }),
      keyFetches: meter.createCounter(METRIC_KEY_FETCHES, { unit: '{fetch}', description: 'Key sets asked of identity providers' }),
      reloads: meter.createCounter(METRIC_RELOADS, { unit: '{reload}', description: 'Configurations given to nginx by their outcome' }),
      traces: meter.createCounter(METRIC_TRACES, { unit: '{trace}', description: 'Traces begun, and whether they are sampled' }),
      unreadLines: meter.createCounter(METRIC_LOG_LINES_UNREAD, {
        unit: '{line}',
        description: 'Lines of the access log that cannot be read',
      }),
    }
  }
  return current
}
