import { faultProxy, startRedis } from '@platform/stack'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { endChildren } from '../../testing/child.ts'
import { Ledger } from '../../testing/ledger.ts'
import { feedPoison } from '../../testing/poison.ts'
import { sold } from '../../testing/sold.ts'
import { redis } from '../redis.ts'

const patience = { timeout: 90_000, interval: 50 }

describe('redis driver under faults', { timeout: 180_000 }, () => {
  let server: Awaited<ReturnType<typeof startRedis>>
  let brokers: Broker[] = []

  const broker = (url: string = server.url, publishTimeoutMs = 10_000): Broker => {
    const made = createBroker({ driver: redis({ url }), service: 'chaos', publishTimeoutMs })
    brokers.push(made)
    return made
  }
  /** In order, each again under its id until it is confirmed. */
  const publishAll = async (own: Broker, ledger: Ledger, total: number, disturb: (n: number) => void): Promise<void> => {
    for (let n = 0; n < total; n += 1) {
      disturb(n)
      const film = `film-${n % 7}`
      for (;;) {
        try {
          await ledger.publish(`sale-${n}`, film, () => own.publish(sold, { film, n }, { id: `sale-${n}` }))
          break
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    }
  }
  beforeAll(async () => {
    server = await startRedis({ fresh: true, durable: true, settings: { appendfsync: 'always' } })
  })
  afterEach(async () => {
    await endChildren()
    await Promise.all(brokers.map((made) => made.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await server?.stop()
  })

  it.each([false, true])('loses nothing and buries nothing untried when the server is killed twice (ordered: %s)', async (ordered) => {
    const group = `killed-${ordered}`
    const ledger = new Ledger({ groups: [group], ordered: ordered ? [group] : [] })
    const members = [broker(), broker()]
    for (const member of members) {
      const handler = ledger.watch<{ film: string; n: number }>(group, () => new Promise((resolve) => setTimeout(resolve, 5)))
      await member.consume(sold, handler, { group, ordered, concurrency: 8, retry: { maxAttempts: 2, initialDelayMs: 20 } })
    }
    let back = Promise.resolve()
    await publishAll(broker(), ledger, 300, (n) => {
      if (n === 100 || n === 200) back = back.then(() => server.kill()).then(() => server.restart())
    })
    await back
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ confirmed: 300, lost: [], reordered: [], untried: [], unaccounted: [] })
    expect(await members[0]?.deadLetters(sold, group).count()).toBe(0)
  })

  it('convicts the message that kills its process, and none that ran beside it', async () => {
    const { audit, dead, deaths } = await feedPoison(broker(), server.url, false)
    expect(dead).toEqual(['sale-1'])
    expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    // One death that may have had many reasons, then two alone.
    expect(deaths).toBeLessThanOrEqual(3)
  })

  it('gives a broadcast listener that was cut off what it missed', async () => {
    await using proxy = await faultProxy(server.url)
    const seen: number[] = []
    await broker(proxy.url).consume(sold, async ({ body }) => void seen.push(body.n), { group: 'broadcast', concurrency: 1 })
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

  it('buries nothing and costs no attempt when connections flap', async () => {
    await using proxy = await faultProxy(server.url)
    const group = 'flapping'
    const ledger = new Ledger({ groups: [group], ordered: [] })
    const publisher = broker()
    const consumer = await broker(proxy.url).consume(
      sold,
      ledger.watch<{ film: string; n: number }>(group, async () => {}),
      {
        group,
        concurrency: 20,
        retry: { maxAttempts: 1 },
      },
    )
    const flapping = (async () => {
      for (let turn = 0; turn < 15; turn += 1) {
        // Torn in the middle of an answer: what it brought was claimed and never heard of.
        proxy.tear(700, { direction: 'to-client' })
        await new Promise((resolve) => setTimeout(resolve, 60))
        proxy.restore()
        await new Promise((resolve) => setTimeout(resolve, 60))
      }
    })()
    await publishAll(publisher, ledger, 400, () => {})
    await flapping
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ lost: [], untried: [], unaccounted: [] })
    expect(await publisher.deadLetters(sold, group).list()).toEqual([])
    expect(consumer.stats().deadLettered).toBe(0)
  })

  it('ends every wait while the server is frozen, and goes on with nothing lost when it is back', async () => {
    const own = broker(server.url, 500)
    const ledger = new Ledger({ groups: ['frozen'], ordered: ['frozen'] })
    await own.consume(
      sold,
      ledger.watch<{ film: string; n: number }>('frozen', async () => {}),
      { group: 'frozen', ordered: true },
    )
    server.freeze()
    try {
      const startedAt = performance.now()
      const outcomes = await Promise.allSettled([
        ledger.publish('first', 'a', () => own.publish(sold, { film: 'a', n: 0 }, { id: 'first' })),
        own.publish(sold, { film: 'a', n: 1 }, { id: 'second' }),
        own.check(),
      ])
      expect(outcomes.map((outcome) => outcome.status === 'rejected' && (outcome.reason as { code: string }).code)).toEqual([
        'ERR_QUEUE_TIMEOUT',
        'ERR_QUEUE_TIMEOUT',
        'ERR_QUEUE_UNAVAILABLE',
      ])
      expect(performance.now() - startedAt).toBeLessThan(15_000)
      expect(own.stats().pendingPublishes).toBe(0)
    } finally {
      server.thaw()
    }
    await publishAll(own, ledger, 20, () => {})
    await vi.waitFor(() => expect(ledger.outstanding('frozen')).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ lost: [], reordered: [], untried: [] })
  })
})
