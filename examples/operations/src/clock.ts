export const second = 1_000
export const minute: number = 60 * second
export const hour: number = 60 * minute
export const day: number = 24 * hour

/** How fast the time of rules runs: at a sixtieth, an hour passes in a minute. */
export interface Clock {
  readonly scale: number
  /** As Prometheus writes it, at this clock's speed. */
  duration(ms: number): string
}

const units = [
  ['d', day],
  ['h', hour],
  ['m', minute],
  ['s', second],
  ['ms', 1],
] as const

export function clock(scale = 1): Clock {
  return { scale, duration: (ms) => writeDuration(Math.round(ms * scale)) }
}

/** In the largest unit that gives a whole number. */
export function writeDuration(ms: number): string {
  const [unit, length] = units.find(([, each]) => ms % each === 0 && ms >= each) ?? ['s', second]
  return `${ms / length}${unit}`
}
