import { z } from 'zod'
import { QueueError } from '../errors.ts'
import { defineMessage } from '../message.ts'
import type { Stage } from './driver-contract.ts'

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index)

export function describeDelivery(stage: Stage): void {
  const { api, broker, name, until } = stage
  const { describe, it, expect } = api
  const numbered = () => defineMessage(name(), { version: 1, schema: z.object({ n: z.number() }) })

  describe('delivery', () => {
    it('gives each message to every group once, shared among its members', async () => {
      const message = numbered()
      const [first, second] = [broker(), broker()]
      const seen: Record<string, number[]> = { billing: [], shipping: [] }
      for (const group of ['billing', 'shipping']) {
        for (const process of [first, second]) {
          await process.consume(message, async ({ body }) => void seen[group]?.push(body.n), { group, concurrency: 4 })
        }
      }
      await Promise.all(numbers(40).map((n) => first.publish(message, { n })))
      await until('80 deliveries', () => (seen['billing']?.length ?? 0) + (seen['shipping']?.length ?? 0) >= 80)
      for (const group of ['billing', 'shipping']) expect(seen[group]?.toSorted((a, b) => a - b)).toEqual(numbers(40))
    })

    it('lets members of a group work at the same time', async () => {
      const message = numbered()
      const [first, second] = [broker(), broker()]
      const busy = new Set<string>()
      let open: () => void = () => {}
      const gate = new Promise<void>((resolve) => {
        open = resolve
      })
      for (const [member, process] of Object.entries({ first, second })) {
        await process.consume(
          message,
          async () => {
            busy.add(member)
            await gate
          },
          { group: 'g', concurrency: 1 },
        )
      }
      await Promise.all(numbers(2).map((n) => first.publish(message, { n })))
      await until('both members to be busy', () => busy.size === 2)
      open()
    })

    it('gives a broadcast to every process', async () => {
      const message = numbered()
      const processes = [broker(), broker(), broker()]
      const seen: number[][] = [[], [], []]
      for (const [index, process] of processes.entries()) {
        await process.consume(message, async ({ body }) => void seen[index]?.push(body.n), { group: 'broadcast', concurrency: 1 })
      }
      for (const n of numbers(5)) await processes[0]?.publish(message, { n })
      await until('five in each process', () => seen.every((list) => list.length >= 5))
      expect(seen).toEqual([numbers(5), numbers(5), numbers(5)])
    })

    it('keeps messages for a group whose members are away', async () => {
      const message = numbered()
      const process = broker()
      const first = await process.consume(message, async () => {}, { group: 'g' })
      await first.close()
      await process.publish(message, { n: 1 })
      const seen: number[] = []
      await broker().consume(message, async ({ body }) => void seen.push(body.n), { group: 'g' })
      await until('the message', () => seen.length > 0)
      expect(seen).toEqual([1])
    })

    it('refuses what nobody ever subscribed to, unless the message says that nobody needs it', async () => {
      const needed = numbered()
      const news = defineMessage(name(), { version: 1, schema: z.object({ n: z.number() }), mandatory: false })
      const process = broker()
      const error = await process.publish(needed, { n: 1 }).catch((reason: unknown) => reason)
      expect(QueueError.isInstance(error) && error.code).toBe('ERR_QUEUE_UNROUTABLE')
      await process.publish(news, { n: 1 })
    })

    it('carries id, key, headers and time', async () => {
      const message = defineMessage(name(), { version: 3, schema: z.object({ film: z.string() }), key: ({ film }) => film })
      const process = broker()
      const seen: object[] = []
      await process.consume(message, async (delivery) => void seen.push(delivery), { group: 'g' })
      const { id } = await process.publish(message, { film: 'Metropolis – 1927' }, { id: 'order/1' })
      await until('the message', () => seen.length > 0)
      expect(id).toBe('order/1')
      expect(seen[0]).toMatchObject({
        id: 'order/1',
        key: 'Metropolis – 1927',
        attempt: 1,
        body: { film: 'Metropolis – 1927' },
        headers: {},
      })
      const age = Date.now() - (seen[0] as { publishedAt: Date }).publishedAt.getTime()
      expect(age >= 0 && age < 60_000).toBe(true)
    })

    it('delivers a delayed message after its delay', async () => {
      const message = numbered()
      const process = broker()
      const seen: number[] = []
      await process.consume(message, async ({ body }) => void seen.push(body.n), { group: 'g' })
      const publishedAt = performance.now()
      await process.publish(message, { n: 2 }, { delayMs: 1_000 })
      await process.publish(message, { n: 1 })
      await until('both messages', () => seen.length >= 2)
      expect(seen).toEqual([1, 2])
      expect(performance.now() - publishedAt >= 950).toBe(true)
    })

    it('rejects an aborted publish with the reason of the caller and sends nothing', async () => {
      const message = numbered()
      const process = broker()
      const seen: number[] = []
      await process.consume(message, async ({ body }) => void seen.push(body.n), { group: 'g' })
      const reason = new Error('the caller left')
      const error = await process.publish(message, { n: 1 }, { signal: AbortSignal.abort(reason) }).catch((caught: unknown) => caught)
      expect(error).toBe(reason)
      await process.publish(message, { n: 2 })
      await until('the second message', () => seen.includes(2))
      expect(seen).toEqual([2])
    })

    it('keeps one version of a message from the consumers of another', async () => {
      const shared = name()
      const first = defineMessage(shared, { version: 1, schema: z.object({ n: z.number() }) })
      const second = defineMessage(shared, { version: 2, schema: z.object({ n: z.number() }) })
      const process = broker()
      const seen: string[] = []
      await process.consume(first, async ({ body }) => void seen.push(`v1:${body.n}`), { group: 'g' })
      await process.consume(second, async ({ body }) => void seen.push(`v2:${body.n}`), { group: 'g' })
      await process.publish(first, { n: 1 })
      await process.publish(second, { n: 2 })
      await until('both messages', () => seen.length >= 2)
      expect(new Set(seen)).toEqual(new Set(['v1:1', 'v2:2']))
    })

    it('counts nothing for what was fetched and not begun when a member closes', async () => {
      const message = numbered()
      const [first, second] = [broker(), broker()]
      const seen = new Map<number, number>()
      let begun = 0
      const busy = await first.consume(
        message,
        async () => {
          begun += 1
          await new Promise((resolve) => setTimeout(resolve, 100))
        },
        { group: 'g', concurrency: 1, prefetch: 20, retry: { maxAttempts: 1 } },
      )
      await Promise.all(numbers(20).map((n) => first.publish(message, { n })))
      await until('the first to run', () => begun > 0)
      await busy.close()
      await second.consume(message, async ({ body, attempt }) => void seen.set(body.n, attempt), { group: 'g', retry: { maxAttempts: 1 } })
      await until('the rest', () => seen.size === 20 - begun)
      expect(new Set(seen.values())).toEqual(new Set([1]))
      expect(await second.deadLetters(message, 'g').count()).toBe(0)
    })

    it('finishes what is in flight when it closes, and nothing more', async () => {
      const message = numbered()
      const process = broker()
      const finished: number[] = []
      let started = 0
      const consumer = await process.consume(
        message,
        async ({ body }) => {
          started += 1
          await new Promise((resolve) => setTimeout(resolve, 300))
          finished.push(body.n)
        },
        { group: 'g', concurrency: 2 },
      )
      await Promise.all(numbers(6).map((n) => process.publish(message, { n })))
      await until('two handlers to run', () => started >= 2)
      await consumer.close()
      const atClose = finished.length
      expect(atClose).toBe(started)
      expect(consumer.stats()).toMatchObject({ inFlight: 0, processed: atClose })

      await broker().consume(message, async ({ body }) => void finished.push(body.n), { group: 'g' })
      await until('the rest', () => finished.length >= 6)
      expect(finished.toSorted((a, b) => a - b)).toEqual(numbers(6))
    })
  })
}
