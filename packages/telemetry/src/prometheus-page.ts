import type { Attributes } from '@opentelemetry/api'
import { DataPointType, type Histogram, type MetricData, type ResourceMetrics } from '@opentelemetry/sdk-metrics'
import { type FamilyType, familyName, labelName } from './metric-names.ts'

export type Format = 'prometheus' | 'openmetrics'

export const contentTypes: Readonly<Record<Format, string>> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

/** What stands behind a bucket's value in OpenMetrics; `bucket` is the index of the boundary, the last one is +Inf. */
export type ExemplarLookup = (
  metric: string,
  attributes: Attributes,
  bucket: number,
) => { readonly labels: Attributes; readonly value: number; readonly timestampMs: number } | undefined

interface Family {
  readonly type: FamilyType
  readonly help: string
  readonly metric: string
  /** By label text, so that no series appears twice even when two scopes measure the same. */
  readonly series: Map<string, { attributes: Attributes; value: number | Histogram }>
}

export function renderPage(metrics: ResourceMetrics, format: Format, exemplars: ExemplarLookup): string {
  const lines: string[] = []
  renderTarget(metrics.resource.attributes, format, lines)
  for (const [name, family] of families(metrics)) {
    const shown = family.type === 'counter' && format === 'prometheus' ? `${name}_total` : name
    if (family.help !== '') lines.push(`# HELP ${shown} ${escapeHelp(family.help, format)}`)
    lines.push(`# TYPE ${shown} ${family.type}`)
    for (const [labels, { attributes, value }] of family.series) {
      if (typeof value === 'number') lines.push(`${name}${family.type === 'counter' ? '_total' : ''}${braces(labels)} ${number(value)}`)
      else
        renderHistogram(name, labels, value, lines, (bucket) =>
          format === 'openmetrics' ? exemplars(family.metric, attributes, bucket) : undefined,
        )
    }
  }
  if (format === 'openmetrics') lines.push('# EOF')
  return `${lines.join('\n')}\n`
}

/** Metrics of which the SDK counts further series together. https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute */
export function overflowing(metrics: ResourceMetrics): string[] {
  return metrics.scopeMetrics
    .flatMap((scope) => scope.metrics)
    .filter(({ dataPoints }) => dataPoints.some(({ attributes }) => attributes['otel.metric.overflow'] === true))
    .map(({ descriptor }) => descriptor.name)
}

function families(metrics: ResourceMetrics): Map<string, Family> {
  const all = new Map<string, Family>()
  // One name of a sample belongs to one family: a scraper refuses a page on which it stands for two.
  const owners = new Map<string, string>(['target', 'target_info'].map((name) => [name, 'target']))
  for (const data of metrics.scopeMetrics.flatMap((scope) => scope.metrics)) {
    const type = typeOf(data)
    if (!type || data.dataPoints.length === 0) continue
    const name = freeName(familyName(data.descriptor.name, data.descriptor.unit, type), type, owners)
    const family: Family = all.get(name) ?? { type, help: data.descriptor.description, metric: data.descriptor.name, series: new Map() }
    all.set(name, family)
    for (const { attributes, value } of data.dataPoints) {
      const labels = labelText(attributes, type === 'histogram')
      const before = family.series.get(labels)?.value
      family.series.set(labels, {
        attributes,
        value: before === undefined ? (value as number | Histogram) : merged(type, before, value as number | Histogram),
      })
    }
  }
  return all
}

/** The name, with the kind behind it while another family has one of its samples. */
function freeName(wanted: string, type: FamilyType, owners: Map<string, string>): string {
  for (let name = wanted; ; name = `${name}_${type}`) {
    const owner = `${name} ${type}`
    const samples = [name, ...sampleEndings[type].map((ending) => name + ending)]
    if (!samples.every((sample) => (owners.get(sample) ?? owner) === owner)) continue
    for (const sample of samples) owners.set(sample, owner)
    return name
  }
}

const sampleEndings: Readonly<Record<FamilyType, readonly string[]>> = {
  counter: ['_total', '_created'],
  gauge: [],
  histogram: ['_bucket', '_sum', '_count', '_created'],
}

function typeOf(data: MetricData): FamilyType | undefined {
  switch (data.dataPointType) {
    case DataPointType.SUM:
      return data.isMonotonic ? 'counter' : 'gauge'
    case DataPointType.GAUGE:
      return 'gauge'
    case DataPointType.HISTOGRAM:
      return 'histogram'
    case DataPointType.EXPONENTIAL_HISTOGRAM:
      return undefined
  }
}

function merged(type: FamilyType, before: number | Histogram, next: number | Histogram): number | Histogram {
  if (typeof before === 'number' && typeof next === 'number') return type === 'counter' ? before + next : next
  if (typeof before === 'number' || typeof next === 'number') return before
  const { boundaries, counts } = before.buckets
  if (boundaries.join() !== next.buckets.boundaries.join()) return before
  return {
    buckets: { boundaries, counts: counts.map((count, i) => count + (next.buckets.counts[i] ?? 0)) },
    sum: (before.sum ?? 0) + (next.sum ?? 0),
    count: before.count + next.count,
  }
}

function renderHistogram(
  name: string,
  labels: string,
  { buckets, sum, count }: Histogram,
  lines: string[],
  exemplar: (bucket: number) => ReturnType<ExemplarLookup>,
): void {
  let below = 0
  for (const [index, inBucket] of buckets.counts.entries()) {
    below += inBucket
    const boundary = buckets.boundaries[index]
    const le = `le="${boundary === undefined ? '+Inf' : Number.isInteger(boundary) ? boundary.toFixed(1) : String(boundary)}"`
    const found = exemplar(index)
    const tail = found ? ` # {${labelText(found.labels)}} ${number(found.value)} ${(found.timestampMs / 1000).toFixed(3)}` : ''
    lines.push(`${name}_bucket{${labels === '' ? le : `${labels},${le}`}} ${below}${tail}`)
  }
  if (sum !== undefined) lines.push(`${name}_sum${braces(labels)} ${number(sum)}`)
  lines.push(`${name}_count${braces(labels)} ${count}`)
}

function renderTarget(attributes: Attributes, format: Format, lines: string[]): void {
  const shown = format === 'openmetrics' ? 'target' : 'target_info'
  lines.push(`# HELP ${shown} Resource of the process`, `# TYPE ${shown} ${format === 'openmetrics' ? 'info' : 'gauge'}`)
  lines.push(`target_info${braces(labelText(attributes))} 1`)
}

function labelText(attributes: Attributes, isHistogram = false): string {
  const labels = new Map<string, string>()
  for (const key of Object.keys(attributes).toSorted()) {
    const value = attributes[key]
    if (value === undefined || value === null) continue
    const name = labelName(key, isHistogram)
    const text = (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).toWellFormed()
    // Keys that become equal are joined, as the specification asks.
    labels.set(name, labels.has(name) ? `${labels.get(name)};${text}` : text)
  }
  return [...labels].map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(',')
}

function braces(labels: string): string {
  return labels === '' ? '' : `{${labels}}`
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  return String(value)
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
}

function escapeHelp(value: string, format: Format): string {
  const escaped = String(value).toWellFormed().replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
  return format === 'openmetrics' ? escaped.replaceAll('"', '\\"') : escaped
}

/** OpenMetrics when it is asked for at least as much as plain text. */
export function formatFor(accept: string | undefined): Format {
  const quality = (type: string) => {
    const entry = accept?.split(',').find((part) => part.trim().toLowerCase().startsWith(type))
    const q = entry && /;\s*q=([0-9.]+)/.exec(entry)?.[1]
    return entry === undefined ? 0 : q === undefined ? 1 : Number(q)
  }
  const open = quality('application/openmetrics-text')
  return open > 0 && open >= quality('text/plain') ? 'openmetrics' : 'prometheus'
}
