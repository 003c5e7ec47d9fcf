/** Makes and drops 10,000 breakers, half of them open, and must then exit by itself. Needs --expose-gc. */
import { createPolicy } from './index.ts'

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
// One that is still open, for an hour, must not hold the process either.
const open = createPolicy({ breaker: { consecutiveFailures: 1, breakDurationMs: 3_600_000 } })
await open.execute(() => Promise.reject(new Error('down'))).catch(() => {})
const timers = process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
console.log(JSON.stringify({ grownBytes, timers, state: open.stats().state }))
