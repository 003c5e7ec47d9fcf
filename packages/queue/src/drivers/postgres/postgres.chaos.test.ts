import { createDbPool } from '@platform/db-pool'
import { startPostgres } from '@platform/stack'
import { expect, it, onTestFinished, vi } from 'vitest'
import { startChild } from '../../testing/child.ts'
import { describeOutages, frozenClose, usualFaults } from '../../testing/outages.fixture.ts'
import { consumeSales, outOfOrder, soldNumbers } from '../../testing/sales.ts'

const patience = { timeout: 90_000, interval: 50 }
/** Of one process, so that a fast publisher cannot run away from the consumer. */
const sales = 200

describeOutages('postgres', { start: () => startPostgres({ fresh: true }) }, usualFaults, frozenClose, ({ server, broker }) => {
  it.each([false, true])(
    'outbox: publishes every committed message though its process is killed again and again (ordered: %s)',
    async (ordered) => {
      const db = createDbPool({ url: server().url, maxSize: 12 })
      onTestFinished(async () => {
        await db.query('drop table if exists sales, platform_inbox, platform_outbox, platform_outbox_owner')
        await db.close()
      })
      const consumer = await consumeSales(broker(), db, ordered)
      const sell = (first: number): ReturnType<typeof startChild> =>
        startChild('outbox-process.ts', server().url, String(first), String(sales), String(ordered))
      const committed: number[] = []
      let next = 0
      for (let round = 0; round < 3; round += 1) {
        const child = sell(next)
        await vi.waitFor(() => expect(child.lines.length).toBeGreaterThan(60), patience)
        await child.kill()
        committed.push(...child.lines.map(Number))
        // The last transaction may have committed without a line.
        next = Number(child.lines.at(-1)) + 2
      }
      sell(next)
      committed.push(...Array.from({ length: sales }, (_, n) => next + n))
      await vi.waitFor(async () => {
        const arrived = new Set((await soldNumbers(db)).map(({ n }) => n))
        expect(committed.filter((n) => !arrived.has(n))).toEqual([])
      }, patience)
      const books = await soldNumbers(db)
      expect(new Set(books.map(({ n }) => n)).size).toBe(books.length)
      expect(ordered ? outOfOrder(books) : []).toEqual([])
      expect(consumer.stats().deadLettered).toBe(0)
    },
  )
})
