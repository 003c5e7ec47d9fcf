import { createDbPool, type DbPool } from '@platform/db-pool'
import { faultProxy, startPostgres, startRabbitmq } from '@platform/stack'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { endChildren, startChild } from '../../testing/child.ts'
import { consumeSales, publishSales, soldNumbers } from '../../testing/outage.ts'
import { feedPoison } from '../../testing/poison.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'

const patience = { timeout: 90_000, interval: 50 }
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe('rabbitmq driver under faults', { timeout: 240_000 }, () => {
  let server: Awaited<ReturnType<typeof startRabbitmq>>
  let database: Awaited<ReturnType<typeof startPostgres>>
  let db: DbPool
  let brokers: Broker[] = []

  const broker = (url: string = server.url): Broker => {
    const made = createBroker({ driver: rabbitmq({ urls: [url] }), service: 'chaos' })
    brokers.push(made)
    return made
  }
  beforeAll(async () => {
    ;[server, database] = await Promise.all([startRabbitmq({ fresh: true }), startPostgres({ fresh: true })])
    db = createDbPool({ url: database.url, maxSize: 12 })
  })
  afterEach(async () => {
    await endChildren()
    await Promise.all(brokers.map((made) => made.close({ timeoutMs: 5_000 })))
    brokers = []
    await db.query('drop table if exists sales, platform_inbox')
  })
  afterAll(async () => {
    await db?.close()
    await Promise.all([server?.stop(), database?.stop()])
  })

  it('loses nothing and does nothing twice when the broker is killed', async () => {
    const total = 300
    await consumeSales(broker(), db, false)
    // RabbitMQ writes a new quorum queue's metadata seconds after it was declared; what a clean end has written outlives a kill.
    await server.restart()
    let back: Promise<void> | undefined
    await publishSales(broker(), total, () => {
      back = server.kill().then(() => server.restart())
    })
    await back
    await vi.waitFor(async () => expect((await soldNumbers(db)).length).toBeGreaterThanOrEqual(total), patience)
    expect((await soldNumbers(db)).map(({ n }) => n).toSorted((a, b) => a - b)).toEqual(numbers(total))
  })

  it('delivers again what a killed process held, as the second attempt', async () => {
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

  it.each([false, true])('convicts the message that kills its process, and none that ran beside it (ordered: %s)', async (ordered) => {
    const { audit, dead, deaths } = await feedPoison(broker(), server.url, ordered)
    expect(dead).toEqual(['sale-1'])
    expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    // One death that may have had many reasons, then two alone.
    expect(deaths).toBeLessThanOrEqual(3)
  })

  it('keeps order per key through a lost connection', async () => {
    await using proxy = await faultProxy(server.url)
    const consuming = broker(proxy.url)
    const log: string[] = []
    await consuming.consume(sold, async ({ body }) => void log.push(`${body.film}:${body.n}`), {
      group: 'ordered',
      ordered: true,
      concurrency: 4,
    })
    const publishing = broker()
    for (let n = 0; n < 60; n += 1) {
      if (n === 20) proxy.cut()
      if (n === 40) proxy.restore()
      await publishing.publish(sold, { film: `f${n % 3}`, n })
    }
    await vi.waitFor(() => expect(new Set(log).size).toBe(60), patience)
    for (const film of ['f0', 'f1', 'f2']) {
      const firsts = [...new Set(log)].filter((line) => line.startsWith(film)).map((line) => Number(line.split(':')[1]))
      expect(firsts).toEqual(firsts.toSorted((a, b) => a - b))
    }
  })

  it('gives a broadcast listener that was cut off what it missed', async () => {
    await using proxy = await faultProxy(server.url)
    const seen: number[] = []
    await broker(proxy.url).consume(sold, async ({ body }) => void seen.push(body.n), { group: 'broadcast', concurrency: 1 })
    const publisher = broker()
    await publisher.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    proxy.cut()
    for (const n of [2, 3]) await publisher.publish(sold, { film: 'a', n })
    proxy.restore()
    await vi.waitFor(() => expect(new Set(seen)).toEqual(new Set([1, 2, 3])), patience)
  })

  it('tells a publisher whose connection breaks under it, and recovers', async () => {
    await using proxy = await faultProxy(server.url)
    const own = createBroker({ driver: rabbitmq({ urls: [proxy.url] }), service: 'chaos', publishTimeoutMs: 1_000 })
    brokers.push(own)
    await own.consume(sold, async () => {}, { group: 'shop' })
    await own.publish(sold, { film: 'a', n: 0 })
    proxy.silence()
    const inFlight = own.publish(sold, { film: 'a', n: 1 }).catch((error: unknown) => error)
    await new Promise((resolve) => setImmediate(resolve))
    proxy.cut()
    expect(await inFlight).toMatchObject({ code: 'ERR_QUEUE_INDETERMINATE' })
    await expect(own.publish(sold, { film: 'a', n: 2 })).rejects.toMatchObject({ code: 'ERR_QUEUE_TIMEOUT' })
    await expect(own.check()).rejects.toMatchObject({ code: 'ERR_QUEUE_UNAVAILABLE' })
    proxy.restore()
    await vi.waitFor(() => own.publish(sold, { film: 'a', n: 3 }), patience)
    await own.check()
  })
})
