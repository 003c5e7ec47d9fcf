import { parseMetrics, type Sample } from './metrics.ts'
import { askAdmin } from './services.ts'
import type { Store } from './store.ts'

/** What the metrics page of each instance said at one moment, in the order of `store.specs`; undefined where none came. */
export type Scrape = readonly (readonly Sample[] | undefined)[]

export function scrape({ specs, adminToken }: Pick<Store, 'specs' | 'adminToken'>): Promise<Scrape> {
  return Promise.all(
    specs.map(async (spec) => {
      try {
        const answer = await askAdmin(spec, '/metrics', adminToken)
        return answer.ok ? parseMetrics(await answer.text()) : undefined
      } catch {
        return undefined
      }
    }),
  )
}

export const samplesOf = (found: Scrape): Sample[] => found.flatMap((page) => page ?? [])

/** What was counted between two scrapes, instance by instance. One that was started again in between has counted from nothing. */
export function since(before: Scrape, after: Scrape): Scrape {
  return after.map((page, index) => {
    const earlier = new Map((before[index] ?? []).map((sample) => [seriesOf(sample), sample.value]))
    const restarted = page?.some((sample) => isCounter(sample) && sample.value < (earlier.get(seriesOf(sample)) ?? 0))
    if (restarted) return page
    return page?.map((sample) => ({ ...sample, value: sample.value - (earlier.get(seriesOf(sample)) ?? 0) }))
  })
}

const seriesOf = ({ name, labels }: Sample) => JSON.stringify([name, labels])
const isCounter = ({ name }: Sample) => /_(total|count|bucket)$/.test(name)
