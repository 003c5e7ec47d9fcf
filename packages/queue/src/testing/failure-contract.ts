import { z } from 'zod'
import { QueueError } from '../errors.ts'
import { defineMessage } from '../message.ts'
import type { Stage } from './driver-contract.ts'

export function describeFailures(stage: Stage): void {
  const { api, broker, name, until } = stage
  const { describe, it, expect } = api
  const numbered = () => defineMessage(name(), { version: 1, schema: z.object({ n: z.number() }) })

  describe('failure', () => {
    it('tries again with the next attempt number', async () => {
      const message = numbered()
      const process = broker()
      const attempts: number[] = []
      const consumer = await process.consume(
        message,
        async ({ attempt }) => {
          attempts.push(attempt)
          if (attempt < 3) throw new Error('not yet')
        },
        { group: 'g', retry: { maxAttempts: 5, initialDelayMs: 20, maxDelayMs: 50 } },
      )
      await process.publish(message, { n: 1 })
      await until('the third attempt to be acknowledged', () => consumer.stats().processed === 1)
      expect(attempts).toEqual([1, 2, 3])
      expect(consumer.stats()).toMatchObject({ retried: 2, deadLettered: 0 })
      expect(await process.deadLetters(message, 'g').count()).toBe(0)
    })

    it('makes a dead letter after the last attempt, shows it and replays it from attempt 1', async () => {
      const message = numbered()
      const process = broker()
      const attempts: number[] = []
      let broken = true
      const consumer = await process.consume(
        message,
        async ({ attempt }) => {
          attempts.push(attempt)
          if (broken) throw new Error('out of stock')
        },
        { group: 'g', retry: { maxAttempts: 2, initialDelayMs: 20, maxDelayMs: 50 } },
      )
      const { id } = await process.publish(message, { n: 7 })
      const dead = process.deadLetters(message, 'g')
      await until('the dead letter', async () => (await dead.count()) === 1)
      expect(attempts).toEqual([1, 2])
      const [letter] = await dead.list()
      expect(letter).toMatchObject({ id, body: '{"n":7}', attempt: 2, reason: 'failed 2 times, last: Error: out of stock', parked: false })
      broken = false
      await dead.replay(id)
      await until('the replay to be handled', () => consumer.stats().processed === 1)
      expect(attempts).toEqual([1, 2, 1])
      expect(await dead.count()).toBe(0)
      const again = await dead.replay(id).catch((error: unknown) => error)
      expect(QueueError.isInstance(again) && again.code).toBe('ERR_QUEUE_NOT_FOUND')
    })

    it('shows dead letters to several who look at once, whole, and discards and replays them in bulk, not for ever', async () => {
      const message = numbered()
      const process = broker()
      await process.consume(message, () => Promise.reject(new Error('never')), { group: 'g', retry: { maxAttempts: 1 } })
      for (const n of [1, 2, 3, 4]) await process.publish(message, { n }, { id: `m${n}` })
      const dead = process.deadLetters(message, 'g')
      const elsewhere = broker().deadLetters(message, 'g')
      await until('four dead letters', async () => (await dead.count()) === 4)
      const looks = await Promise.all([dead.list(), elsewhere.list(), dead.count(), elsewhere.list({ limit: 2 })])
      expect(looks.map((look) => (typeof look === 'number' ? look : look.map(({ id }) => id).toSorted().length))).toEqual([4, 4, 4, 2])

      await dead.discard('m1')
      expect(await dead.discardAll({ where: ({ id }) => id === 'm2' })).toEqual({ done: 1, skipped: 0 })
      expect(await elsewhere.count()).toBe(2)
      const gone = await dead.discard('m1').catch((error: unknown) => error)
      expect(QueueError.isInstance(gone) && gone.code).toBe('ERR_QUEUE_NOT_FOUND')
      for (const replays of [1, 2]) {
        expect(await dead.replayAll({ maxReplays: 2 })).toEqual({ done: 2, skipped: 0 })
        await until('both to be dead again', async () => (await dead.list()).filter((letter) => letter.replays === replays).length === 2)
      }
      expect(await dead.replayAll({ maxReplays: 2 })).toEqual({ done: 0, skipped: 2 })
    })

    it('never tries a body that does not fit: it is a dead letter with the reason', async () => {
      const shared = name()
      const loose = defineMessage(shared, { version: 1, schema: z.object({ n: z.unknown() }) })
      const strict = defineMessage(shared, { version: 1, schema: z.object({ n: z.number() }) })
      const process = broker()
      let handled = 0
      await process.consume(strict, async () => void (handled += 1), { group: 'g', retry: { maxAttempts: 5, initialDelayMs: 10 } })
      await process.publish(loose, { n: 'secret' })
      const dead = process.deadLetters(strict, 'g')
      await until('the dead letter', async () => (await dead.count()) === 1)
      expect(handled).toBe(0)
      expect((await dead.list())[0]).toMatchObject({ attempt: 1, reason: 'invalid body: n invalid_type' })
    })

    for (const ordered of [false, true]) {
      it(`gives a message back when its handler outlives the close, and counts the attempt (ordered: ${ordered})`, async () => {
        const message = defineMessage(name(), { version: 1, schema: z.object({ n: z.number() }), key: () => 'k' })
        const [first, second] = [broker(), broker()]
        let aborted = false
        let running = false
        const stuck = await first.consume(
          message,
          (_delivery, { signal }) =>
            new Promise<void>((_resolve, reject) => {
              running = true
              signal.addEventListener('abort', () => {
                aborted = true
                setTimeout(() => reject(new Error('stopped late')), 500)
              })
            }),
          { group: 'g', ordered },
        )
        await first.publish(message, { n: 1 })
        await until('the handler to run', () => running)
        await stuck.close({ timeoutMs: 50 })
        expect(aborted).toBe(true)
        const attempts: number[] = []
        await second.consume(message, async ({ attempt }) => void attempts.push(attempt), { group: 'g', ordered })
        await until('the second attempt', () => attempts.length > 0)
        expect(attempts).toEqual([2])
      })
    }

    it('has no dead letters in a group that never was', async () => {
      const message = numbered()
      const dead = broker().deadLetters(message, 'nobody')
      expect([await dead.count(), await dead.list(), await dead.replayAll()]).toEqual([0, [], { done: 0, skipped: 0 }])
      const codes = await Promise.all(
        [dead.replay('x'), dead.discard('x'), dead.release('x')].map((refused) =>
          refused.catch((error: unknown) => QueueError.isInstance(error) && error.code),
        ),
      )
      expect(codes).toEqual(Array(3).fill('ERR_QUEUE_NOT_FOUND'))
    })

    it('ends a group that has no members, and nothing in it or nothing that is wanted', async () => {
      const message = numbered()
      const process = broker()
      const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
        promise.then(
          (result) => result,
          (error: unknown) => QueueError.isInstance(error) && error.code,
        )
      expect(await process.deleteGroup(message, 'g')).toBe(false)
      const consumer = await process.consume(message, async () => {}, { group: 'g' })
      await consumer.close()
      await process.publish(message, { n: 1 })
      await until('the message to be counted', async () => (await codeOf(process.deleteGroup(message, 'g'))) === 'ERR_QUEUE_CONFLICT')
      expect(await process.deleteGroup(message, 'g', { discard: true })).toBe(true)
      expect(await codeOf(process.publish(message, { n: 2 }))).toBe('ERR_QUEUE_UNROUTABLE')
      const seen: number[] = []
      await process.consume(message, async ({ body }) => void seen.push(body.n), { group: 'g', ordered: true })
      await process.publish(message, { n: 3 })
      await until('the third message', () => seen.length > 0)
      expect(seen).toEqual([3])
    })

    it('refuses a group that exists with another order', async () => {
      const message = numbered()
      const process = broker()
      const consumer = await process.consume(message, async () => {}, { group: 'g', ordered: true })
      await consumer.close()
      const error = await broker()
        .consume(message, async () => {}, { group: 'g' })
        .catch((caught: unknown) => caught)
      expect(QueueError.isInstance(error) && error.code).toBe('ERR_QUEUE_CONFLICT')
    })

    it('refuses everything once closed', async () => {
      const message = numbered()
      const process = broker()
      await process.consume(message, async () => {}, { group: 'g' })
      await process.close()
      const errors = await Promise.all([
        process.publish(message, { n: 1 }).catch((error: unknown) => error),
        process.consume(message, async () => {}, { group: 'g' }).catch((error: unknown) => error),
        process
          .deadLetters(message, 'g')
          .count()
          .catch((error: unknown) => error),
      ])
      expect(errors.map((error) => QueueError.isInstance(error) && error.code)).toEqual(Array(3).fill('ERR_QUEUE_CLOSED'))
    })
  })
}
