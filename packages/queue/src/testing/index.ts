export { describeQueueDriver } from './driver-contract.ts'
export type { QueueDriverHarness, TestApi } from './driver-contract.ts'
export { Ledger, readLedgerLine } from './ledger.ts'
export type { Audit, LedgerEntry, LedgerOptions } from './ledger.ts'
