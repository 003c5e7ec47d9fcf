import { sum } from '../metrics.ts'
import { samplesOf, type Scrape } from '../scrape.ts'

/** Messages that failed for good; undefined when an instance told nothing, or all together nothing of messages: that is no zero. */
export function deadLettered(found: Scrape): number | undefined {
  if (found.length === 0 || found.some((page) => page === undefined || page.length === 0)) return undefined
  const samples = samplesOf(found)
  if (sum(samples, 'messaging_client_consumed_messages_total') === 0) return undefined
  return sum(samples, 'platform_queue_dead_lettered_total')
}
