import { AggregationType, InstrumentType, type ViewOptions } from '@opentelemetry/sdk-metrics'

/** Boundaries of the conventions for http.*; the conventions for messaging.* and rpc.* name the same, and our own durations fit them. */
export const requestSeconds: number[] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
/** Boundaries of the convention for db.client.operation.duration. */
const databaseSeconds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

/** Libraries that give boundaries of their own for other names keep them. */
export function views(): ViewOptions[] {
  const view = (instrumentName: string, boundaries: number[]): ViewOptions => ({
    instrumentName,
    instrumentUnit: 's',
    instrumentType: InstrumentType.HISTOGRAM,
    aggregation: { type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM, options: { boundaries } },
  })
  return [view('http.*', requestSeconds), view('messaging.*', requestSeconds), view('rpc.*', requestSeconds), view('db.*', databaseSeconds)]
}
