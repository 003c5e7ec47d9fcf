import { backgroundTimeout, longestTimerMs } from '@platform/kernel'
import { setImmediate } from 'node:timers/promises'

export interface Clock {
  now(): number
  /** Returns the cancel. */
  after(delayMs: number, run: () => void): () => void
}

export const realClock: Clock = {
  now: () => performance.now(),
  after(delayMs, run) {
    let timer: NodeJS.Timeout | undefined
    const wait = (leftMs: number): void => {
      timer = backgroundTimeout(() => (leftMs > longestTimerMs ? wait(leftMs - longestTimerMs) : run()), leftMs)
    }
    wait(delayMs)
    return () => clearTimeout(timer)
  },
}

export interface VirtualClock extends Clock {
  /** Runs everything due within the next `ms`, in order, letting handlers proceed after each step. */
  advance(ms: number): Promise<void>
}

/** Time that moves only when told: backoffs of minutes in tests of milliseconds. */
export function virtualClock(): VirtualClock {
  let now = 0
  let order = 0
  const timers = new Set<{ at: number; order: number; run: () => void }>()
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn += 1) await setImmediate()
  }
  return {
    now: () => now,
    after(delayMs, run) {
      order += 1
      const timer = { at: now + delayMs, order, run }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    async advance(ms) {
      const end = now + ms
      await settle()
      for (;;) {
        const next = [...timers].sort((a, b) => a.at - b.at || a.order - b.order)[0]
        if (next === undefined || next.at > end) break
        timers.delete(next)
        now = next.at
        next.run()
        await settle()
      }
      now = end
    },
  }
}
