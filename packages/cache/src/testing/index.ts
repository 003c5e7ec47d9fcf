export { describeCacheDriver } from './driver-contract.ts'
export { faultyDriver, MemoryChannel } from './faults.ts'
export { replayInterleaving, runInterleavings } from './interleavings.ts'
export { MemoryPlace, memoryStore } from './memory-store.ts'

export type { CacheDriverPlace, CacheDriverSubject, TestFunctions } from './bench.ts'
export type { Fault } from './faults.ts'
export type { Finding, InterleavingOptions, InterleavingResult } from './interleavings.ts'
