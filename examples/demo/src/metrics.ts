/** One line of a metrics page. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Reads the Prometheus text format, as far as our pages use it. */
export function parseMetrics(page: string): Sample[] {
  const samples: Sample[] = []
  for (const line of page.split('\n')) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line)
    if (!match) continue
    const labels: Record<string, string> = {}
    for (const [, key, value] of (match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[key!] = value!
    samples.push({ name: match[1]!, labels, value: match[3] === '+Inf' ? Infinity : Number(match[3]) })
  }
  return samples
}

type Labels = Readonly<Record<string, string>>

/** The sum of a counter over all series that carry these labels. */
export function sum(samples: readonly Sample[], name: string, labels: Labels = {}): number {
  return samples.filter((sample) => sample.name === name && has(sample, labels)).reduce((total, { value }) => total + value, 0)
}

/** A quantile of a histogram over all series that carry these labels, interpolated inside its bucket; undefined when nothing was recorded. */
export function quantile(samples: readonly Sample[], name: string, q: number, labels: Labels = {}): number | undefined {
  const buckets = new Map<number, number>()
  for (const sample of samples) {
    if (sample.name !== `${name}_bucket` || !has(sample, labels)) continue
    const bound = sample.labels['le'] === '+Inf' ? Infinity : Number(sample.labels['le'])
    buckets.set(bound, (buckets.get(bound) ?? 0) + sample.value)
  }
  const sorted = [...buckets].sort(([a], [b]) => a - b)
  const total = sorted.at(-1)?.[1] ?? 0
  if (total === 0) return undefined
  let lower = 0
  let below = 0
  for (const [bound, count] of sorted) {
    if (count >= q * total) return bound === Infinity ? lower : lower + ((bound - lower) * (q * total - below)) / (count - below)
    lower = bound
    below = count
  }
  return lower
}

const has = (sample: Sample, labels: Labels) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value)
