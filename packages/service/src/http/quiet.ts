import { pause } from '@platform/kernel'

export interface QuietOptions {
  readonly minDrainMs: number
  readonly quietWindowMs: number
  readonly maxQuietWaitMs: number
}

/** Of the time that a drain has, the listener stays open for this part at most: the rest is for the answers that are under way then. */
const openShare = 2 / 3

/**
 * How long the listener stays open: `minDrainMs`, because a balancer may not have heard yet however little comes from it; then until no
 * request has come for `quietWindowMs`, at most `maxQuietWaitMs` more.
 */
export async function untilQuiet(
  options: QuietOptions,
  watch: { from: number; timeoutMs: number; lastRequestAt(): number; isCut(): boolean },
): Promise<void> {
  const limit = performance.now() + watch.timeoutMs * openShare
  const openUntil = Math.min(watch.from + options.minDrainMs, limit)
  const latest = Math.min(openUntil + options.maxQuietWaitMs, limit)
  for (;;) {
    const quietAt = Math.max(openUntil, watch.lastRequestAt() + options.quietWindowMs)
    const left = Math.min(quietAt, latest) - performance.now()
    if (left <= 0 || watch.isCut()) return
    await pause(Math.min(left, 50))
  }
}
