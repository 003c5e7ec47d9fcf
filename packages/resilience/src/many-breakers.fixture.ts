/** Makes and drops 10,000 breakers, half of them open, and must then exit by itself. Needs --expose-gc. */
import { type BreakerOptions, createPolicy, createPolicyGroup, type Policy } from './index.ts'

const heap = async (): Promise<number> => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}
const makeAndDrop = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) {
    const policy = createPolicy({ timeoutMs: 60_000, breaker: { consecutiveFailures: 1, breakDurationMs: 1, maxBreakDurationMs: 1 } })
    await policy.execute(() => (i % 2 === 0 ? 1 : Promise.reject(new Error('down')))).catch(() => {})
  }
  await new Promise((resolve) => setTimeout(resolve, 50))
}

await makeAndDrop(1000)
const before = await heap()
await makeAndDrop(10_000)
const grownBytes = (await heap()) - before
const group = createPolicyGroup({ breaker: {} })
const beforeGroup = await heap()
for (let i = 0; i < 20_000; i++) await group.for(`tenant-${i}`).execute(() => 1)
const bytesPerKey = ((await heap()) - beforeGroup) / group.size
group.dispose()
// Neither must one hold the process that is open for an hour, that has a probe out for an hour, or that recovers for an hour.
const hour = 3_600_000
const openFor = async (breaker: BreakerOptions): Promise<Policy> => {
  const policy = createPolicy({ breaker: { consecutiveFailures: 1, maxBreakDurationMs: breaker.breakDurationMs, ...breaker } })
  await policy.execute(() => Promise.reject(new Error('down'))).catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 20))
  return policy
}
const open = await openFor({ breakDurationMs: hour })
const probing = await openFor({ breakDurationMs: 1, probeTimeoutMs: hour })
void probing.execute(() => new Promise(() => {}))
const recovering = await openFor({ breakDurationMs: 1, recoveryMs: hour })
await recovering.execute(() => 1)
const timers = process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
console.log(JSON.stringify({ grownBytes, bytesPerKey, timers, states: [open, probing, recovering].map((policy) => policy.stats().state) }))
