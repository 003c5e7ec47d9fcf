import { z } from 'zod'
import { QueueError } from '../errors.ts'
import { defineMessage } from '../message.ts'
import type { Stage } from './driver-contract.ts'
import { Ledger } from './ledger.ts'

export function describeOrder(stage: Stage): void {
  const { api, broker, name, until } = stage
  const { describe, it, expect } = api
  const keyed = () => defineMessage(name(), { version: 1, schema: z.object({ film: z.string(), n: z.number() }), key: ({ film }) => film })

  describe('order', () => {
    it('hands out one message of a key at a time, in publishing order, across members', async () => {
      const message = keyed()
      const [first, second] = [broker(), broker()]
      const seen: Record<string, number[]> = { a: [], b: [], c: [] }
      const active = new Set<string>()
      let overlaps = 0
      let most = 0
      for (const process of [first, second]) {
        await process.consume(
          message,
          async ({ body: { film, n } }) => {
            if (active.has(film)) overlaps += 1
            active.add(film)
            most = Math.max(most, active.size)
            await new Promise((resolve) => setTimeout(resolve, 5))
            seen[film]?.push(n)
            active.delete(film)
          },
          { group: 'g', concurrency: 4, ordered: true },
        )
      }
      for (let n = 0; n < 12; n += 1) await Promise.all(['a', 'b', 'c'].map((film) => first.publish(message, { film, n })))
      await until('36 messages', () => Object.values(seen).flat().length >= 36)
      const expected = Array.from({ length: 12 }, (_, n) => n)
      expect(seen).toEqual({ a: expected, b: expected, c: expected })
      expect(overlaps).toBe(0)
      expect(most > 1).toBe(true)
    })

    it('keeps a key waiting while its message is tried again', async () => {
      const message = keyed()
      const process = broker()
      const log: string[] = []
      await process.consume(
        message,
        async ({ body: { film, n }, attempt }) => {
          log.push(`${film}${n}#${attempt}`)
          if (film === 'a' && n === 0 && attempt < 3) throw new Error('not yet')
        },
        { group: 'g', ordered: true, retry: { maxAttempts: 3, initialDelayMs: 50, maxDelayMs: 100 } },
      )
      for (const n of [0, 1]) await process.publish(message, { film: 'a', n })
      await process.publish(message, { film: 'b', n: 0 })
      await until('all of them', () => log.includes('a1#1') && log.includes('b0#1'))
      expect(log.filter((line) => line.startsWith('a'))).toEqual(['a0#1', 'a0#2', 'a0#3', 'a1#1'])
    })

    it('parks the key of a message that failed for good; replay goes first, then those that waited', async () => {
      const message = keyed()
      const process = broker()
      const done: string[] = []
      let broken = true
      const options = { group: 'g', ordered: true, retry: { maxAttempts: 2, initialDelayMs: 10, maxDelayMs: 20 } }
      const handler = async ({ body: { film, n } }: { body: { film: string; n: number } }): Promise<void> => {
        if (broken && film === 'a' && n === 0) throw new Error('broken')
        done.push(`${film}${n}`)
      }
      const consumer = await process.consume(message, handler, options)
      const { id } = await process.publish(message, { film: 'a', n: 0 })
      for (const n of [1, 2]) await process.publish(message, { film: 'a', n })
      const dead = process.deadLetters(message, 'g')
      await until('the dead letter', async () => (await dead.count()) === 1)
      for (const n of [0, 1]) await process.publish(message, { film: 'b', n })
      await until('the other key', () => done.includes('b1'))
      expect(done).toEqual(['b0', 'b1'])
      expect((await dead.list())[0]).toMatchObject({ id, key: 'a', parked: true })

      // Parking outlives the consumer that parked.
      await consumer.close()
      const next = broker()
      await next.consume(message, handler, options)
      await next.publish(message, { film: 'a', n: 3 })
      await next.publish(message, { film: 'b', n: 2 })
      await until('the other key after the restart', () => done.includes('b2'))
      expect(done.filter((line) => line.startsWith('a'))).toEqual([])

      broken = false
      await next.deadLetters(message, 'g').replay(id)
      await until('the parked key', () => done.filter((line) => line.startsWith('a')).length >= 4)
      expect(done.filter((line) => line.startsWith('a'))).toEqual(['a0', 'a1', 'a2', 'a3'])
      expect(await next.deadLetters(message, 'g').count()).toBe(0)
    })

    it('lets a released key go on and keeps the dead letter', async () => {
      const message = keyed()
      const process = broker()
      const done: number[] = []
      await process.consume(
        message,
        async ({ body: { n } }) => {
          if (n === 0) throw new Error('broken')
          done.push(n)
        },
        { group: 'g', ordered: true, retry: { maxAttempts: 1 } },
      )
      for (const n of [0, 1, 2]) await process.publish(message, { film: 'a', n })
      const dead = process.deadLetters(message, 'g')
      await until('the dead letter', async () => (await dead.count()) === 1)
      await dead.release('a')
      await until('those that waited', () => done.length >= 2)
      await process.publish(message, { film: 'a', n: 3 })
      await until('the one published later', () => done.length >= 3)
      expect(done).toEqual([1, 2, 3])
      await until('the letter to be no longer parked', async () => (await dead.list())[0]?.parked === false)
      expect(await dead.count()).toBe(1)
      const again = await dead.release('a').catch((error: unknown) => error)
      expect(QueueError.isInstance(again) && again.code).toBe('ERR_QUEUE_NOT_FOUND')
    })

    it('lets a key go on whose dead letter is discarded', async () => {
      const message = keyed()
      const process = broker()
      const done: number[] = []
      const handler = async ({ body: { n } }: { body: { n: number } }): Promise<void> => {
        if (n === 0) throw new Error('broken')
        done.push(n)
      }
      await process.consume(message, handler, { group: 'g', ordered: true, retry: { maxAttempts: 1 } })
      await process.publish(message, { film: 'a', n: 0 }, { id: 'zero' })
      for (const n of [1, 2]) await process.publish(message, { film: 'a', n })
      const dead = process.deadLetters(message, 'g')
      await until('the dead letter', async () => (await dead.list())[0]?.parked === true)
      await dead.discard('zero')
      await until('those that waited', () => done.length >= 2)
      expect(done).toEqual([1, 2])
      expect(await dead.count()).toBe(0)
    })

    it('keeps every key in order while members come and go, each finishing what it has in hand', async () => {
      const message = keyed()
      const publisher = broker()
      const ledger = new Ledger({ groups: ['g'], ordered: ['g'] })
      const active = new Map<string, number>()
      let overlaps = 0
      const handler = ledger.watch<{ film: string; n: number }>('g', async ({ body: { film } }) => {
        if ((active.get(film) ?? 0) > 0) overlaps += 1
        active.set(film, (active.get(film) ?? 0) + 1)
        await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 20))
        active.set(film, (active.get(film) ?? 0) - 1)
      })
      const join = () => broker().consume(message, handler, { group: 'g', ordered: true, concurrency: 4 })
      let members = [await join(), await join(), await join()]
      const publishing = (async () => {
        for (let n = 0; n < 150; n += 1) {
          const film = `f${n % 5}`
          await ledger.publish(`${n}`, film, () => publisher.publish(message, { film, n }, { id: `${n}` }))
        }
      })()
      for (let turn = 0; turn < 3; turn += 1) {
        await new Promise((resolve) => setTimeout(resolve, 100))
        const [oldest, ...rest] = members
        members = [...rest, await join()]
        await oldest?.close()
      }
      await publishing
      await until('every message to be handled', () => ledger.outstanding('g').length === 0)
      const { lost, reordered, doubled, untried } = ledger.audit()
      expect({ lost, reordered, doubled, untried, overlaps }).toEqual({ lost: [], reordered: [], doubled: [], untried: [], overlaps: 0 })
      expect(await publisher.deadLetters(message, 'g').count()).toBe(0)
    })

    it('delivers messages without a key in an ordered group', async () => {
      const message = defineMessage(name(), { version: 1, schema: z.object({ n: z.number() }) })
      const process = broker()
      const seen: number[] = []
      await process.consume(message, async ({ body }) => void seen.push(body.n), { group: 'g', ordered: true })
      await Promise.all([1, 2, 3].map((n) => process.publish(message, { n })))
      await until('three messages', () => seen.length >= 3)
      expect(new Set(seen)).toEqual(new Set([1, 2, 3]))
    })
  })
}
