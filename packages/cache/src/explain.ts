import type { CopyExplanation, Explanation } from './contract.ts'
import { freshness } from './entry.ts'
import type { Layers } from './layers.ts'
import type { Lifetimes } from './lifetimes.ts'
import type { ResolvedCacheOptions } from './options.ts'
import type { SharedLayer } from './shared-layer.ts'
import type { Flight } from './single-flight.ts'

/** What is known of a key, and what a request would do with it. Asks l2 without the wish to fill it. */
export async function explain(
  key: string,
  name: string,
  layers: Layers,
  flight: Flight | undefined,
  options: ResolvedCacheOptions,
): Promise<Explanation> {
  const { shared, coherence } = layers
  const l1 = options.l1 ? ofLocal(layers, name) : 'none'
  const l2 = shared ? await ofShared(shared, options.lifetimes, name) : 'none'
  const load = !flight || flight.overtaken || flight.state.is === 'settled' ? 'none' : flight.state.is
  return { key, l1, l2, load, coherence: coherence?.suspect ? 'suspect' : 'coherent', next: nextOf(l1, l2, load) }
}

function nextOf(l1: Explanation['l1'], l2: Explanation['l2'], load: Explanation['load']): Explanation['next'] {
  const stateOf = (copy: CopyExplanation | string): string => (typeof copy === 'string' ? copy : copy.state)
  if (stateOf(l1) === 'fresh') return 'serve l1'
  if (stateOf(l1) === 'stale') return 'serve stale and refresh'
  if (load === 'loading') return 'join the load'
  if (stateOf(l2) === 'fresh') return 'serve l2'
  return stateOf(l2) === 'stale' || load === 'answered' ? 'serve stale and refresh' : 'run the factory'
}

function ofLocal({ local, generations }: Layers, name: string): CopyExplanation {
  const entry = local.peek(name)
  if (!entry) return { state: 'absent' }
  const now = performance.now()
  return { state: freshness(entry, generations.epoch, now), freshMs: entry.freshUntil - now, tags: entry.tags.map((tag) => tag.name) }
}

async function ofShared(shared: SharedLayer, { errorMs, revalidateMs }: Lifetimes, name: string): Promise<Explanation['l2']> {
  if (shared.delivery.covers(name)) return 'invalidation pending'
  try {
    const { read, sent } = await shared.read({ key: name, tags: [] })
    const { body, freshMs, tags } = read
    if (body === undefined) return { state: 'absent' }
    if (tags.some((tag) => shared.delivery.mayPredate(sent.pending, tag))) return 'invalidation pending'
    const state = freshMs > 0 ? 'fresh' : -freshMs < revalidateMs ? 'stale' : -freshMs < errorMs ? 'fallback' : 'expired'
    return { state, freshMs, tags }
  } catch {
    return 'unavailable'
  }
}
