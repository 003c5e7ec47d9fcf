/** The instruments of prom-client that `telemetry.ts` measures beside ours. */
import { Counter, Histogram, register } from 'prom-client'

const buckets = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

export const createHistogramMetric = (labelNames: string[]): Histogram =>
  new Histogram({ name: 'http_test_duration_seconds', help: 'x', labelNames, buckets })

export const createPromCounter = (labelNames: string[]): Counter => new Counter({ name: 'test_things', help: 'x', labelNames })

export const promPage = (): Promise<string> => register.metrics()
