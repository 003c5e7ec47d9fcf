import { setImmediate } from 'node:timers/promises'
import { same } from './compare.ts'
import { ConfigError } from './errors.ts'
import { within } from './timing.ts'

/** What a listener that is ready for a change gives back. */
export interface Prepared {
  /** Every listener is ready and the snapshot is switched. Must not fail. */
  commit(): void
  /** Somebody else was not ready: undo what was prepared. */
  abort?(): void
}

/** A part of the settings for those who follow changes; the shape that other packages take. */
export interface Live<T> {
  readonly current: T
  /** Called when this part changes, before it does. A rejection, or no answer in time, vetoes the change for everyone. Returns the unsubscribe. */
  onChange(prepare: (next: T, previous: T, options: { signal: AbortSignal }) => Promise<Prepared> | Prepared): () => void
}

interface Listener {
  select(value: unknown): unknown
  prepare(next: unknown, previous: unknown, options: { signal: AbortSignal }): Promise<Prepared> | Prepared
}

/** Two phases: everyone concerned prepares, then all commit; when one does not, those that did abort. */
export interface Listeners {
  add(listener: Listener): () => void
  /** Rejects with `ERR_CONFIG_VETOED`, after everyone who prepared was told. Otherwise gives the second phase, which returns what commits threw. */
  prepare(next: unknown, previous: unknown, options: { timeoutMs: number; signal: AbortSignal }): Promise<() => unknown[]>
}

export function createListeners(): Listeners {
  const listeners = new Set<Listener>()
  return {
    add(listener) {
      const own = { ...listener }
      listeners.add(own)
      return () => listeners.delete(own)
    },
    async prepare(next, previous, { timeoutMs, signal }) {
      const giveUp = new AbortController()
      const preparing = [...listeners].map(async (listener) => {
        const change = { next: listener.select(next), previous: listener.select(previous) }
        if (same(change.next, change.previous)) return undefined
        return { listener, prepared: await listener.prepare(change.next, change.previous, { signal: giveUp.signal }) }
      })
      try {
        const late = () => new Error(`not every listener was ready within ${timeoutMs} ms`)
        const ready = await within(timeoutMs, signal, late, () => Promise.all(preparing))
        return () =>
          commitAll(ready.filter((each) => each !== undefined).map((each) => ({ ...each, isGone: !listeners.has(each.listener) })))
      } catch (cause) {
        giveUp.abort(cause)
        // Whoever is ready only now is told too, whenever that is.
        for (const each of preparing) void each.then((done) => done?.prepared?.abort?.()).catch(() => {})
        await setImmediate()
        throw new ConfigError('ERR_CONFIG_VETOED', 'a listener is not ready for the new settings', { cause })
      }
    },
  }
}

function commitAll(ready: readonly { prepared: Prepared; isGone: boolean }[]): unknown[] {
  const failures: unknown[] = []
  for (const { prepared, isGone } of ready) {
    try {
      if (isGone) prepared.abort?.()
      else prepared.commit()
    } catch (error) {
      failures.push(error)
    }
  }
  return failures
}
