/** The name of the service that a request is for. Whoever answers for another one says 421 instead of doing it. */
export const SERVICE_HEADER = 'x-platform-service'
/** Said with '1' by an instance that is about to stop: clients leave it before the registry knows. */
export const DRAINING_HEADER = 'x-platform-draining'
/** How busy an instance is, from 0 to 1, as it says itself. */
export const LOAD_HEADER = 'x-platform-load'

/** Why the instance of this answer gets no more requests for now. */
export type LeavingCause = 'draining' | 'another service answers there'

export function leavingCause(response: Response): LeavingCause | undefined {
  if (isMisdirected(response)) return 'another service answers there'
  return response.headers.get(DRAINING_HEADER) === '1' ? 'draining' : undefined
}

/** RFC 9110, 15.5.20: this server does not answer for what was asked, so it has done nothing. */
export function isMisdirected({ status }: { readonly status: number }): boolean {
  return status === 421
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
