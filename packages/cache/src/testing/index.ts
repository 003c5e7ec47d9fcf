export { describeCacheDriver } from './driver-contract.ts'
export type { CacheDriverPlace, CacheDriverSubject, TestFunctions } from './bench.ts'
