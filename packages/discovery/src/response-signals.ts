/** Said with '1' by an instance that is about to stop: clients leave it before the registry knows. */
export const DRAINING_HEADER = 'x-platform-draining'
/** How busy an instance is, from 0 to 1, as it says itself. */
export const LOAD_HEADER = 'x-platform-load'

export function drains({ headers }: Response): boolean {
  return headers.get(DRAINING_HEADER) === '1'
}

export function loadOf({ headers }: Response): number {
  const load = Number(headers.get(LOAD_HEADER) ?? 0)
  return load >= 0 ? Math.min(1, load) : 0
}

/** What a 429 or 503 asked for; undefined: it named no time. */
export function askedRestMs(response: Response | undefined): number | undefined {
  const value = response?.headers.get('retry-after')
  if (value === null || value === undefined) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const ms = Date.parse(value) - Date.parse(response?.headers.get('date') ?? new Date().toUTCString())
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
