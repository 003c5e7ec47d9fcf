import type { Outcome } from './policy.ts'

/** How long the other side asked to stay away: `retryAfterMs` of an error, or the Retry-After header of a Response or of an error's `response`. */
export function retryAfterMs(outcome: Outcome): number | undefined {
  const source = outcome.ok ? outcome.value : outcome.error
  if (typeof source !== 'object' || source === null) return undefined
  const { retryAfterMs: own, response } = source as { retryAfterMs?: unknown; response?: unknown }
  if (typeof own === 'number') return own >= 0 ? own : undefined
  return fromHeaders(source) ?? fromHeaders(response)
}

function fromHeaders(source: unknown): number | undefined {
  const headers = (source as { headers?: { get?: unknown } } | null | undefined)?.headers
  if (typeof headers?.get !== 'function') return undefined
  const get = (name: string): unknown => (headers as { get(name: string): unknown }).get(name)
  const value = get('retry-after')
  if (typeof value !== 'string') return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  // A date is measured against the sender's own clock, not against ours.
  const ms = Date.parse(value) - Date.parse(String(get('date')))
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
