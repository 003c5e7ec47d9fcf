import { setImmediate } from 'node:timers/promises'
import { withDeadline } from '@platform/kernel'
import { same } from './compare.ts'
import { ConfigError } from './errors.ts'

/** What a listener that is ready for a change gives back. */
export interface Prepared {
  /** Every listener is ready and the snapshot is switched. May be async; what it throws or rejects with stands in the event, nothing more. */
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
  /** Rejects with `ERR_CONFIG_VETOED`, after everyone who prepared was told. Otherwise gives the second phase: what commits threw, within the same time. */
  prepare(next: unknown, previous: unknown, options: { timeoutMs: number; signal: AbortSignal }): Promise<() => Promise<unknown[]>>
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
        const ready = (await withDeadline(timeoutMs, late, () => Promise.all(preparing), signal)).filter((each) => each !== undefined)
        return () =>
          commitAll(
            ready.map((each) => ({ ...each, isGone: !listeners.has(each.listener) })),
            timeoutMs,
          )
      } catch (cause) {
        giveUp.abort(cause)
        // Whoever is ready only now is told too, whenever that is.
        for (const each of preparing) each.then((done) => done?.prepared?.abort?.()).catch(() => {})
        await setImmediate()
        throw new ConfigError('ERR_CONFIG_VETOED', 'a listener is not ready for the new settings', { cause })
      }
    },
  }
}

/** All begin before anyone is waited for: the snapshot is switched, and everybody should be as soon. */
async function commitAll(ready: readonly { prepared: Prepared; isGone: boolean }[], timeoutMs: number): Promise<unknown[]> {
  const late = (): Error => new Error(`a commit was not done within ${timeoutMs} ms`)
  const begun = ready.map(async ({ prepared, isGone }) => (isGone ? prepared.abort?.() : prepared.commit()))
  const outcomes = await Promise.allSettled(begun.map((commit) => withDeadline(timeoutMs, late, () => commit)))
  return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []))
}
