export { registry } from './registry.ts'
export { bucketOf, countOf, type Label, labelOf, type Matchers, type Metric, type MetricOf, series } from './series.ts'
