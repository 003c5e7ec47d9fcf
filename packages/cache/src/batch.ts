import { randomUUID } from 'node:crypto'
import type { Candidate, Lease, Loader } from './loader.ts'
import type { Flight } from './single-flight.ts'

export interface BatchItem {
  readonly flight: Flight
  readonly candidate: Candidate | undefined
}

interface Missing extends BatchItem {
  readonly lease: Lease | undefined
}

/**
 * Many keys, one look-up in l2 and one call of the factory. A key that another process is loading is loaded here as well, without the
 * right to fill l2: one call in all is worth more than one load in all.
 */
export async function loadBatch(
  loader: Loader,
  items: readonly BatchItem[],
  factory: (missing: readonly string[], options: { signal: AbortSignal }) => Promise<ReadonlyMap<string, unknown>>,
  ttlMs: number,
): Promise<void> {
  const missing = loader.parts.shared ? await consult(loader, items) : items.map((item): Missing => ({ ...item, lease: undefined }))
  if (missing.length === 0) return
  const flights = missing.map((item) => item.flight)
  const controller = abortWithAll(flights)
  const leave = (item: Missing) => item.lease && loader.parts.shared?.release(item.flight.key, item.lease.token)
  try {
    const values = await loader.timed(
      flights,
      () => undefined,
      () =>
        factory(
          flights.map((flight) => flight.key),
          { signal: controller.signal },
        ),
      controller,
    )
    await Promise.all(
      missing.map(async (item) => {
        const value = values.get(item.flight.key)
        if (value instanceof Error) {
          leave(item)
          return loader.failed(item.flight, value, item.candidate)
        }
        try {
          await loader.store(item.flight, { value, ttlMs, lease: item.lease, skip: value === undefined })
        } catch (error) {
          leave(item)
          loader.failed(item.flight, error, item.candidate)
        }
      }),
    )
  } catch (error) {
    for (const item of missing) {
      leave(item)
      loader.failed(item.flight, error, item.candidate)
    }
  }
}

async function consult(loader: Loader, items: readonly BatchItem[]): Promise<Missing[]> {
  const { shared, options } = loader.parts
  const asked = items.map((item) => ({ item, token: randomUUID(), trusted: !shared?.delivery.covers(item.flight.key) }))
  const lookups = asked
    .filter(({ trusted }) => trusted)
    .map(({ item, token }) => ({ key: item.flight.key, lease: { token, leaseMs: options.leaseMs, tags: [...item.flight.tags] } }))
  const askedIn = loader.turn
  const reads = lookups.length > 0 ? await shared?.read(lookups).catch(() => undefined) : undefined
  const byKey = new Map(lookups.map((lookup, index) => [lookup.key, reads?.[index]]))
  const missing: Missing[] = []
  for (const { item, token } of asked) {
    const read = byKey.get(item.flight.key)
    const { fresh, candidate } = read ? loader.interpret(item.flight.key, read) : { fresh: undefined, candidate: undefined }
    if (read && fresh) {
      if (read.lease === 'held') shared?.release(item.flight.key, token)
      item.flight.askedIn = askedIn
      loader.keepHit(item.flight, read, fresh.value)
    } else
      missing.push({
        flight: item.flight,
        candidate: candidate ?? item.candidate,
        lease: read?.lease === 'held' ? { token, position: read.position } : undefined,
      })
  }
  return missing
}

/** The shared call ends early only when every key of it is cut: abandoned by its callers, or at close. */
function abortWithAll(flights: readonly Flight[]): AbortController {
  const controller = new AbortController()
  let left = flights.length
  for (const { controller: own } of flights) {
    const onAbort = () => {
      if (--left === 0) controller.abort(own.signal.reason)
    }
    if (own.signal.aborted) onAbort()
    else own.signal.addEventListener('abort', onAbort, { once: true })
  }
  return controller
}
