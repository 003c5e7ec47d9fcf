import { type MeterProvider, metrics, type ObservableGauge } from '@opentelemetry/api'

export const metricNames = {
  reloads: 'platform.config.reloads',
  revision: 'platform.config.revision',
} as const

export const attributeNames = {
  /** `applied`, `unchanged`, `restart`, `invalid`, `unreachable`, `vetoed`. */
  outcome: 'platform.config.outcome',
} as const

const scope = '@platform/config'

export interface Instruments {
  /** Settings are loaded before telemetry starts: the revision is reported from the moment an SDK is there. */
  attach(): void
  reload(outcome: string): void
  close(): void
}

export function createInstruments(revision: () => number): Instruments {
  let provider: MeterProvider | undefined
  let gauge: ObservableGauge | undefined
  const observe: Parameters<ObservableGauge['addCallback']>[0] = (result) => result.observe(revision())
  const close = (): void => gauge?.removeCallback(observe)
  const attach = (): void => {
    const now = metrics.getMeterProvider()
    if (now === provider) return
    close()
    provider = now
    gauge = now.getMeter(scope).createObservableGauge(metricNames.revision, { description: 'How many times settings were applied' })
    gauge.addCallback(observe)
  }
  return {
    attach,
    reload(outcome) {
      attach()
      const counter = metrics.getMeter(scope).createCounter(metricNames.reloads, { unit: '{reload}' })
      counter.add(1, { [attributeNames.outcome]: outcome })
    },
    close,
  }
}
