import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { createBroker } from '../../broker.ts'
import { defineMessage } from '../../message.ts'
import { describeQueueDriver } from '../../testing/index.ts'
import { memory, virtualClock } from '../memory.ts'

describeQueueDriver({ describe, it, expect, beforeAll, afterAll, afterEach }, 'memory', async () => {
  const driver = memory()
  return { driver: () => driver, close: async () => {} }
})

describe('memory with a virtual clock', () => {
  const tick = defineMessage('tick', { version: 1, schema: z.object({ n: z.number() }) })

  it('goes through backoffs and delays of minutes without waiting', async () => {
    const clock = virtualClock()
    await using broker = createBroker({ driver: memory({ clock }), service: 'test' })
    const attempts: number[] = []
    await broker.consume(
      tick,
      async ({ attempt }) => {
        attempts.push(attempt)
        throw new Error('always')
      },
      { group: 'g', retry: { maxAttempts: 4, initialDelayMs: 600_000, maxDelayMs: 3_600_000 } },
    )
    await broker.publish(tick, { n: 1 }, { delayMs: 3_600_000 })
    await clock.advance(3_599_999)
    expect(attempts).toEqual([])
    await clock.advance(1)
    expect(attempts).toEqual([1])
    await clock.advance(3 * 3_600_000)
    expect(attempts).toEqual([1, 2, 3, 4])
    expect(await broker.deadLetters(tick, 'g').count()).toBe(1)
  })
})
