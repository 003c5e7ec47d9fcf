import { z } from 'zod'
import type { Consumer } from '../consumer.ts'
import type { ExpiredGroup } from '../driver.ts'
import { QueueError } from '../errors.ts'
import { defineMessage } from '../message.ts'
import type { Stage } from './driver-contract.ts'

/** Groups end when somebody says so, or when nobody came back for as long as they were to stay. */
export function describeExpiry({ api: { describe, it, expect }, broker, name, until }: Stage): void {
  const numbered = () => defineMessage(name(), { version: 1, schema: z.object({ n: z.number() }) })

  describe('the end of groups', () => {
    it('does not delete a group that has a member, busy or not', async () => {
      const message = numbered()
      const process = broker()
      const consumer = await broker().consume(message, async () => {}, { group: 'g' })
      const codeOf = (deleting: Promise<boolean>): Promise<unknown> =>
        deleting.catch((error: unknown) => QueueError.isInstance(error) && error.code)
      await until(
        'the member to be seen',
        async () => (await codeOf(process.deleteGroup(message, 'g', { discard: true }))) === 'ERR_QUEUE_CONFLICT',
      )
      expect(await codeOf(process.deleteGroup(message, 'g', { discard: true }))).toBe('ERR_QUEUE_CONFLICT')
      await consumer.close()
      await until('the member to be gone', async () => (await codeOf(process.deleteGroup(message, 'g', { discard: true }))) === true)
    })

    it('removes with all that it holds a group that nobody came back to, and no other', async () => {
      const message = numbered()
      const told: ExpiredGroup[] = []
      const process = broker({ onGroupExpired: (gone) => void told.push(gone) })
      const seen = new Map<string, number[]>()
      const numbersOf = (group: string): number[] => (seen.get(group) ?? []).toSorted((a, b) => a - b)
      const join = (group: string, ordered: boolean, groupExpiresAfterMs?: number): Promise<Consumer> =>
        process.consume(message, async ({ body }) => void seen.set(group, [...(seen.get(group) ?? []), body.n]), {
          group,
          ordered,
          groupExpiresAfterMs,
        })
      const visit = async (...joining: Parameters<typeof join>): Promise<void> => (await join(...joining)).close()
      const expiresAfterMs = 10_000
      await join('staying', true, expiresAfterMs)
      await visit('kept', false)
      await visit('changed', false, expiresAfterMs)
      await visit('changed', false)
      await visit('back', true, expiresAfterMs)
      const goneSince = performance.now()
      await visit('gone', false, expiresAfterMs)
      await visit('gone-ordered', true, expiresAfterMs)
      await process.publish(message, { n: 1 })
      await new Promise((resolve) => setTimeout(resolve, expiresAfterMs * 0.6 - (performance.now() - goneSince)))
      expect(told).toEqual([])
      // What it has waited for is not counted any more, whether a look has found it there or not.
      let backAt = Number.NEGATIVE_INFINITY
      await until('the groups to be removed', async () => {
        if (performance.now() - backAt > expiresAfterMs * 0.3) {
          await visit('back', true, expiresAfterMs)
          backAt = performance.now()
        }
        return told.length === 2
      })
      expect(performance.now() - goneSince >= expiresAfterMs).toBe(true)
      expect(told.map(({ group }) => group).toSorted()).toEqual(['gone', 'gone-ordered'])
      expect(told[0]).toEqual({ destination: `${message.name}.v1`, group: told[0]?.group, messages: 1 })
      await process.publish(message, { n: 2 })
      for (const group of ['back', 'kept', 'changed', 'gone', 'gone-ordered'])
        await join(group, group === 'back' || group === 'gone-ordered')
      await process.publish(message, { n: 3 })
      const expected = { staying: [1, 2, 3], kept: [1, 2, 3], changed: [1, 2, 3], back: [1, 2, 3], gone: [3], 'gone-ordered': [3] }
      const groups = Object.keys(expected)
      await until('the last message in each group', () => groups.every((group) => numbersOf(group).includes(3)))
      expect(Object.fromEntries(groups.map((group) => [group, numbersOf(group)]))).toEqual(expected)
    })
  })
}
