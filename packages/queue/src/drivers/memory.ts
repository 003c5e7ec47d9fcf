export { memory } from './memory/session.ts'
export type { MemoryOptions } from './memory/session.ts'
export { virtualClock } from './memory/clock.ts'
export type { Clock, VirtualClock } from './memory/clock.ts'
