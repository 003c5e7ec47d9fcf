import { expect, it } from 'vitest'
import { Gradient2, underOverload, Vegas } from './adaptive-limit.fixture.ts'
import { AdaptiveLimit } from './adaptive-limit.ts'

it('does better than Gradient2 and Vegas as they are published in real time as well', async () => {
  const model = { latencyMs: 20, capacity: 10 }
  const [ours, gradient2, vegas] = await Promise.all([
    underOverload(() => new AdaptiveLimit({ minConcurrent: 1, initialConcurrent: 20 }, 500), model),
    underOverload(() => new Gradient2(20, 500), model),
    underOverload(() => new Vegas(20, 500), model),
  ])
  console.log('latency and throughput', { ours, gradient2, vegas })
  expect(ours.meanMs).toBeLessThan(gradient2.meanMs)
  expect(ours.perSecond).toBeGreaterThan(vegas.perSecond)
})
