import { guarded } from '@platform/kernel'

const WINDOW_MS = 1000

/** A `load` of `httpServer`: the part of the last second, about, in which this process's event loop was busy. */
export function eventLoopLoad(): () => number {
  let before = performance.eventLoopUtilization()
  let [at, load] = [performance.now(), 0]
  return () => {
    const now = performance.now()
    if (now - at < WINDOW_MS) return load
    const current = performance.eventLoopUtilization()
    load = performance.eventLoopUtilization(current, before).utilization
    ;[before, at] = [current, now]
    return load
  }
}

/** As the header carries it; undefined for what is no load. */
export function loadText(load: (() => number) | undefined): string | undefined {
  const value = load && guarded(load)
  return typeof value === 'number' && value >= 0 ? Math.min(1, value).toFixed(2) : undefined
}
