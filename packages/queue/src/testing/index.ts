export { describeQueueDriver } from './driver-contract.ts'
export type { QueueDriverHarness, TestApi } from './driver-contract.ts'
