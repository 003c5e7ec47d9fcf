import { jittered } from './backoff.ts'
import { backgroundTimeout, timerMs } from './timers.ts'

/** After the first failure; doubled up to a quarter of the time between two successes, or this. */
const firstRetryMs = 25
const longestRetryMs = 5_000

type Begin = (work: () => void, ms: number) => NodeJS.Timeout

/**
 * Does work again and again, one time after the other: `everyMs` after it was done, and sooner after it failed, 25 ms at first and 5 s at most, since
 * what was away may be back.
 * `firstMs`, which is `everyMs` unless given, is the time before the first. Holds the process. Returns what ends it; work under way goes on.
 */
export function upkeep(work: () => Promise<unknown>, everyMs: number, firstMs: number = everyMs): () => void {
  return repeat(holdingTimeout, work, everyMs, firstMs)
}

/** The same for what nobody awaits: lets the process end and knows nothing of its caller's context. */
export function backgroundUpkeep(work: () => Promise<unknown>, everyMs: number, firstMs: number = everyMs): () => void {
  return repeat(backgroundTimeout, work, everyMs, firstMs)
}

const holdingTimeout: Begin = (work, ms) => setTimeout(work, timerMs(ms))

function repeat(begin: Begin, work: () => Promise<unknown>, everyMs: number, firstMs: number): () => void {
  let ended = false
  let failures = 0
  let timer: NodeJS.Timeout
  const wait = (ms: number): void => {
    if (!ended) timer = begin(() => void run(), ms)
  }
  const run = async (): Promise<void> => {
    try {
      await work()
      failures = 0
      wait(everyMs)
    } catch {
      wait(jittered(Math.min(firstRetryMs * 2 ** Math.min(failures++, 10), everyMs / 4, longestRetryMs)))
    }
  }
  wait(firstMs)
  return () => {
    ended = true
    clearTimeout(timer)
  }
}

/** Waits for all, whatever becomes of each; rejects with the first failure then. For work of which one part must not keep the others from being done. */
export async function allDone(work: Iterable<Promise<unknown>>): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected')
  if (failed) throw (failed as PromiseRejectedResult).reason
}
