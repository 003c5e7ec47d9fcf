/**
 * How long to wait before a try, with full jitter: anything from nothing to `initialDelayMs`, doubled for every earlier retry, at most `maxDelayMs`.
 * `retry` is 1 for the first. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export function backoffMs(retry: number, initialDelayMs: number, maxDelayMs: number, random: () => number = Math.random): number {
  return random() * Math.min(maxDelayMs, initialDelayMs * 2 ** Math.min(retry - 1, 52))
}

/** Between half of the time and all of it, so that many processes do not come at once. */
export function jittered(ms: number, random: () => number = Math.random): number {
  return ms * (0.5 + random() / 2)
}
