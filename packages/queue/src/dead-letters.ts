import { integerOption, numberOption, pause } from '@platform/kernel'
import type { DeadLetter, DeadLetterStore } from './driver.ts'
import type { Cancellable } from './shapes.ts'
import { refuse } from './validation.ts'

export interface DeadLetters {
  count(options?: Cancellable): Promise<number>
  /** Oldest first; `limit` defaults to 100, at most 10,000. */
  list(options?: Cancellable & { limit?: number | undefined }): Promise<DeadLetter[]>
  /** Delivers it again from attempt 1. One that parks its key goes first, then the messages that waited. */
  replay(id: string, options?: Cancellable): Promise<void>
  /** Forgets it; a key that waits for it goes on. */
  discard(id: string, options?: Cancellable): Promise<void>
  /** Replays what `where` chooses, oldest first, of those that are there now. */
  replayAll(options?: BulkOptions): Promise<BulkResult>
  discardAll(options?: BulkOptions): Promise<BulkResult>
  /** Lets a parked key go on; the dead letter stays. */
  release(key: string, options?: Cancellable): Promise<void>
}

export interface BulkOptions extends Cancellable {
  /** Which ones. Default: all. */
  where?: ((letter: DeadLetter) => boolean) | undefined
  /** How many are looked at. Default and most 10,000. */
  limit?: number | undefined
  /** Default: as fast as it goes. 0.01 to 100,000. */
  perSecond?: number | undefined
  /** A letter that was replayed so often already is left alone, so that what cannot succeed does not go round for ever. Default 3, 1 to 1,000. */
  maxReplays?: number | undefined
}

export interface BulkResult {
  readonly done: number
  /** Chosen, and left alone because of `maxReplays`, or gone meanwhile. */
  readonly skipped: number
}

const batchSize = 100

type Run = <R>(signal: AbortSignal | undefined, operation: (signal: AbortSignal) => Promise<R>) => Promise<R>

/** The time allowed for an operation holds for each batch. */
export async function eachDeadLetter(
  operation: 'replay' | 'discard',
  store: DeadLetterStore,
  { destination, group }: { destination: string; group: string },
  run: Run,
  { signal, where = () => true, limit = 10_000, perSecond = 100_000, maxReplays = 3 }: BulkOptions = {},
): Promise<BulkResult> {
  integerOption(refuse, 'limit', limit, 1, 10_000)
  integerOption(refuse, 'maxReplays', maxReplays, 1, 1_000)
  numberOption(refuse, 'perSecond', perSecond, 0.01, 100_000)
  const letters = await run(signal, (bound) => store.list(destination, group, { signal: bound, limit }))
  const chosen = letters.filter((letter) => where(letter))
  const able = operation === 'replay' ? chosen.filter((letter) => letter.replays < maxReplays) : chosen
  const size = Math.max(1, Math.min(batchSize, Math.floor(perSecond)))
  let done = 0
  for (let at = 0; at < able.length; at += size) {
    const ids = able.slice(at, at + size).map(({ id }) => id)
    done += await run(signal, (bound) => store[operation](destination, group, ids, { signal: bound }))
    if (at + size < able.length && perSecond < 100_000) await pause((size / perSecond) * 1000, signal)
  }
  return { done, skipped: chosen.length - done }
}
