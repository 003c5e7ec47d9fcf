import { registry } from './registry.ts'

type Registry = typeof registry
export type Metric = keyof Registry
/** The metrics of one kind. */
export type MetricOf<Kind extends string> = { [Name in Metric]: Registry[Name]['kind'] extends Kind ? Name : never }[Metric]

/** What Prometheus adds to every series of a target. */
export type TargetLabel = 'job' | 'instance'
/** A label of the metric, as OpenTelemetry names it, or one of its target. */
export type Label<Name extends Metric> = (keyof Registry[Name]['labels'] & string) | TargetLabel
/** A value that the label must have, or a rule for it. */
export type Matchers<Name extends Metric> = { readonly [L in Label<Name>]?: string | { readonly not: string } | { readonly like: string } }

/** A selector of PromQL: `series('platform.cache.requests', { result: 'hit' })` is `platform_cache_requests_total{result="hit"}`. */
export function series<Name extends MetricOf<'counter' | 'up-down counter' | 'gauge'>>(name: Name, matchers: Matchers<Name> = {}): string {
  const { prometheus, kind } = registry[name]
  return select(kind === 'counter' ? `${prometheus}_total` : prometheus, name, matchers)
}

/** The buckets of a histogram. */
export function bucketOf<Name extends MetricOf<'histogram'>>(name: Name, matchers: Matchers<Name> & { readonly le?: string } = {}): string {
  return select(`${registry[name].prometheus}_bucket`, name, matchers)
}

/** How many values a histogram has recorded. */
export function countOf<Name extends MetricOf<'histogram'>>(name: Name, matchers: Matchers<Name> = {}): string {
  return select(`${registry[name].prometheus}_count`, name, matchers)
}

/** How Prometheus writes a label of the metric. */
export function labelOf<Name extends Metric>(name: Name, label: Label<Name>): string {
  const labels: Readonly<Record<string, string>> = registry[name].labels
  return labels[label] ?? label
}

function select(family: string, name: Metric, matchers: object): string {
  const text = Object.entries(matchers as Record<string, string | { not: string } | { like: string }>).map(([label, wanted]) => {
    const key = labelOf(name, label as Label<Metric>)
    if (typeof wanted === 'string') return `${key}=${JSON.stringify(wanted)}`
    return 'not' in wanted ? `${key}!=${JSON.stringify(wanted.not)}` : `${key}=~${JSON.stringify(wanted.like)}`
  })
  return text.length === 0 ? family : `${family}{${text.join(',')}}`
}
