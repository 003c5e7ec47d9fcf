import type { CopyExplanation, Explanation } from './contract.ts'
import type { Coherence } from './coherence.ts'
import { freshness } from './entry.ts'
import type { Generations } from './generations.ts'
import type { Lifetimes } from './lifetimes.ts'
import type { LocalLayer } from './local-layer.ts'
import type { SharedLayer } from './shared-layer.ts'
import type { Flight } from './single-flight.ts'

export interface ExplainParts {
  readonly local: LocalLayer | undefined
  readonly shared: SharedLayer | undefined
  readonly coherence: Coherence | undefined
  readonly generations: Generations
  readonly flight: Flight | undefined
  readonly lifetimes: Lifetimes
}

/** What is known of a key, and what a request would do with it. Asks l2 without the wish to fill it. */
export async function explain(key: string, name: string, parts: ExplainParts): Promise<Explanation> {
  const l1 = parts.local ? ofLocal(parts.local, parts.generations, name) : 'none'
  const l2 = parts.shared ? await ofShared(parts.shared, parts.lifetimes, name) : 'none'
  const { flight } = parts
  const load = !flight || flight.overtaken || flight.state.is === 'settled' ? 'none' : flight.state.is
  return { key, l1, l2, load, coherence: parts.coherence?.suspect ? 'suspect' : 'coherent', next: nextOf(l1, l2, load) }
}

function nextOf(l1: Explanation['l1'], l2: Explanation['l2'], load: Explanation['load']): Explanation['next'] {
  const stateOf = (copy: CopyExplanation | string): string => (typeof copy === 'string' ? copy : copy.state)
  if (stateOf(l1) === 'fresh') return 'serve l1'
  if (stateOf(l1) === 'stale') return 'serve stale and refresh'
  if (load === 'loading') return 'join the load'
  if (stateOf(l2) === 'fresh') return 'serve l2'
  return stateOf(l2) === 'stale' || load === 'answered' ? 'serve stale and refresh' : 'run the factory'
}

function ofLocal(local: LocalLayer, generations: Generations, name: string): CopyExplanation {
  const entry = local.peek(name)
  if (!entry) return { state: 'absent' }
  const now = performance.now()
  return { state: freshness(entry, generations.epoch, now), freshMs: entry.freshUntil - now, tags: entry.tags.map((tag) => tag.name) }
}

async function ofShared(shared: SharedLayer, { errorMs, revalidateMs }: Lifetimes, name: string): Promise<Explanation['l2']> {
  if (shared.delivery.covers(name)) return 'invalidation pending'
  const changing = shared.delivery.view()
  try {
    const [read] = await shared.read([{ key: name }])
    if (read?.body === undefined) return { state: 'absent' }
    const { freshMs, tags } = read
    if (tags.some(changing)) return 'invalidation pending'
    const state = freshMs > 0 ? 'fresh' : -freshMs < revalidateMs ? 'stale' : -freshMs < errorMs ? 'fallback' : 'expired'
    return { state, freshMs, tags }
  } catch {
    return 'unavailable'
  }
}
