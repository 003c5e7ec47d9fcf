import { createDbPool, type DbPool } from '@platform/db-pool'
import { faultProxy, startPostgres } from '@platform/stack'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { endChildren, startChild } from '../../testing/child.ts'
import { consumeSales, outOfOrder, publishSales, soldNumbers } from '../../testing/outage.ts'
import { feedPoison } from '../../testing/poison.ts'
import { sold } from '../../testing/sold.ts'
import { postgres } from '../postgres.ts'

const patience = { timeout: 90_000, interval: 50 }
/** Of one process, so that a fast publisher cannot run away from the consumer. */
const sales = 200
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe('postgres driver under faults', { timeout: 180_000 }, () => {
  let server: Awaited<ReturnType<typeof startPostgres>>
  let db: DbPool
  let brokers: Broker[] = []

  const broker = (url: string = server.url): Broker => {
    const made = createBroker({ driver: postgres({ url }), service: 'chaos' })
    brokers.push(made)
    return made
  }
  beforeAll(async () => {
    server = await startPostgres({ fresh: true })
  })
  beforeEach(() => {
    db = createDbPool({ url: server.url, maxSize: 12 })
  })
  afterEach(async () => {
    await endChildren()
    await Promise.all(brokers.map((made) => made.close({ timeoutMs: 5_000 })))
    brokers = []
    await db.query('drop schema if exists platform_queue cascade')
    await db.query('drop table if exists sales, platform_inbox, platform_outbox, platform_outbox_owner')
    await db.close()
  })
  afterAll(async () => {
    await server?.stop()
  })

  it.each([false, true])('loses nothing and does nothing twice when the server is killed (ordered: %s)', async (ordered) => {
    const total = 300
    await consumeSales(broker(), db, ordered)
    let back: Promise<void> | undefined
    await publishSales(broker(), total, () => {
      back = server.kill().then(() => server.restart())
    })
    await back
    await vi.waitFor(async () => expect((await soldNumbers(db)).length).toBeGreaterThanOrEqual(total), patience)
    const books = await soldNumbers(db)
    expect(books.map(({ n }) => n).toSorted((a, b) => a - b)).toEqual(numbers(total))
    expect(ordered ? outOfOrder(books) : []).toEqual([])
  })

  it('convicts the message that kills its process, and none that ran beside it', async () => {
    const { audit, dead, deaths } = await feedPoison(broker(), server.url, false)
    expect(dead).toEqual(['sale-1'])
    expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    // One death that may have had many reasons, then two alone.
    expect(deaths).toBeLessThanOrEqual(3)
  })

  it('delivers again what a killed process held, within its lease and a supervision, as the second attempt', async () => {
    const own = broker()
    const child = startChild('stuck-consumer.ts', server.url)
    await vi.waitFor(() => expect(child.lines).toContain('subscribed'), patience)
    await own.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(child.lines).toContain('started'), patience)
    const attempts: number[] = []
    await own.consume(sold, async ({ attempt }) => void attempts.push(attempt), { group: 'shop' })
    await child.kill()
    await vi.waitFor(() => expect(attempts).toEqual([2]), patience)
  })

  it('gives a broadcast listener that was cut off what it missed', async () => {
    await using proxy = await faultProxy(server.url)
    const listener = broker(proxy.url)
    const seen: number[] = []
    await listener.consume(sold, async ({ body }) => void seen.push(body.n), { group: 'broadcast', concurrency: 1 })
    const publisher = broker()
    await publisher.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    proxy.cut()
    await publisher.publish(sold, { film: 'a', n: 2 })
    await publisher.publish(sold, { film: 'a', n: 3 })
    expect(seen).toEqual([1])
    proxy.restore()
    await vi.waitFor(() => expect(seen).toEqual([1, 2, 3]), patience)
  })

  it('tells a publisher that the server is away by its deadline, and recovers', async () => {
    await using proxy = await faultProxy(server.url)
    const own = createBroker({ driver: postgres({ url: proxy.url }), service: 'chaos', publishTimeoutMs: 300 })
    brokers.push(own)
    await own.consume(sold, async () => {}, { group: 'shop' })
    proxy.cut()
    await expect(own.publish(sold, { film: 'a', n: 1 })).rejects.toMatchObject({
      code: expect.stringMatching(/TIMEOUT|INDETERMINATE/) as string,
    })
    await expect(own.check()).rejects.toMatchObject({ code: 'ERR_QUEUE_UNAVAILABLE' })
    proxy.restore()
    await vi.waitFor(() => own.publish(sold, { film: 'a', n: 2 }), patience)
    await own.check()
  })

  it.each([false, true])(
    'outbox: publishes every committed message though its process is killed again and again (ordered: %s)',
    async (ordered) => {
      const consumer = await consumeSales(broker(), db, ordered)
      const sell = (first: number): ReturnType<typeof startChild> =>
        startChild('outbox-process.ts', server.url, String(first), String(sales), String(ordered))
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
