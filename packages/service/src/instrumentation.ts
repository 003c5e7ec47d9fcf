import { metrics } from '@opentelemetry/api'

/** Seconds a component needed to become ready. No convention exists; unit and shape follow the duration metrics of OpenTelemetry. */
export const METRIC_COMPONENT_START = 'platform.service.component.start.duration'
export const ATTR_COMPONENT = 'platform.service.component'

/** What happened to the service, by kind. */
export const METRIC_EVENTS = 'platform.service.events'
export const ATTR_EVENT = 'platform.service.event'

export function recordComponentStart(component: string, durationMs: number): void {
  metrics
    .getMeter('@platform/service')
    .createHistogram(METRIC_COMPONENT_START, {
      unit: 's',
      description: 'Time a component needed to become ready',
      advice: { explicitBucketBoundaries: [0.01, 0.1, 0.5, 1, 5, 10, 30, 60] },
    })
    .record(durationMs / 1000, { [ATTR_COMPONENT]: component })
}

export function countEvent(event: string): void {
  metrics
    .getMeter('@platform/service')
    .createCounter(METRIC_EVENTS, { unit: '{event}', description: 'Starts, stops, losses of readiness and reloads of the service' })
    .add(1, { [ATTR_EVENT]: event })
}
