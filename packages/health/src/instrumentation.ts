import { metrics, type ObservableResult } from '@opentelemetry/api'
import type { Status } from './check.ts'

/** No convention exists for health; the shape follows the one-hot state metrics of https://opentelemetry.io/docs/specs/semconv/system/k8s-metrics/. */
export const METRIC_CHECK_STATUS = 'platform.health.check.status'
export const ATTR_CHECK_NAME = 'platform.health.check.name'
export const ATTR_CHECK_STATUS = 'platform.health.check.status'

const statuses: readonly Status[] = ['pass', 'warn', 'fail']

/** One series per check and status: 1 for the current one, 0 for the others. Returns the way to end it. */
export function observeChecks(read: () => Iterable<readonly [string, Status]>): () => void {
  const gauge = metrics.getMeter('@platform/health').createObservableGauge(METRIC_CHECK_STATUS, {
    description: '1 for the status a check has now, 0 for the others',
  })
  const callback = (result: ObservableResult) => {
    for (const [name, current] of read()) {
      for (const status of statuses) result.observe(status === current ? 1 : 0, { [ATTR_CHECK_NAME]: name, [ATTR_CHECK_STATUS]: status })
    }
  }
  gauge.addCallback(callback)
  return () => gauge.removeCallback(callback)
}
