import { bucketOf, countOf } from '@platform/metrics'
import { type Slo, slo } from './slo.ts'

const requests = 'http.server.request.duration'
const failed = { 'http.response.status_code': { like: '5..' } } as const

const availability = (job: string): Slo =>
  slo({
    name: `${job}-availability`,
    title: `${job}: answered without an error of ours`,
    job,
    objective: 0.999,
    events: { all: countOf(requests, { job }), bad: countOf(requests, { job, ...failed }) },
  })

/** `le` is a boundary of the histogram, so that nothing is interpolated. */
const latency = (job: string, le: string): Slo =>
  slo({
    name: `${job}-latency`,
    title: `${job}: answered within ${le} s`,
    job,
    objective: 0.99,
    events: { all: countOf(requests, { job }), good: bucketOf(requests, { job, le }) },
  })

/** What the film store promises its customers. */
export const slos: readonly Slo[] = [
  availability('catalog-api'),
  availability('orders-api'),
  latency('catalog-api', '0.25'),
  latency('orders-api', '0.5'),
]
