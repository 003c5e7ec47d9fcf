import { testRabbitmq } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { main } from '../../cli/main.ts'
import { createBroker, type Broker, type Consumer } from '../../index.ts'
import { Ledger } from '../../testing/ledger.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'

const patience = { timeout: 40_000, interval: 50 }

describe('an ordered group of several shards', { timeout: 120_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let brokers: Broker[] = []
  let groups = 0

  const open = (): Broker => {
    const broker = createBroker({ driver: rabbitmq({ urls: [vhost.url] }), service: 'shards' })
    brokers.push(broker)
    return broker
  }
  const nextGroup = (): string => `shards-${(groups += 1)}`
  const reshard = async (group: string, shards: number): Promise<{ code: number; text: string }> => {
    let text = ''
    const output = { out: (more: string): void => void (text += more), err: (more: string): void => void (text += more) }
    const argv = ['topology', 'reshard', '--url', vhost.url, '--message', 'film.sold.v1', '--group', group, '--shards', String(shards)]
    return { code: await main(argv, output, {}), text }
  }
  beforeAll(async () => {
    vhost = await testRabbitmq()
  })
  afterEach(async () => {
    await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await vhost?.close()
  })

  it('is worked on by all members, and every key stays in order while members come and go', async () => {
    const group = nextGroup()
    const ledger = new Ledger({ groups: [group], ordered: [group] })
    const handledBy: Record<string, number> = {}
    const member = (name: string): Promise<Consumer> =>
      open().consume(
        sold,
        ledger.watch(group, async () => {
          await new Promise((resolve) => setTimeout(resolve, 2))
          handledBy[name] = (handledBy[name] ?? 0) + 1
        }),
        { group, ordered: true, shards: 8, concurrency: 4 },
      )
    const first = await member('first')
    await vi.waitFor(async () => expect(await first.check()).toBeUndefined(), patience)
    const publisher = open()
    let n = 0
    const publish = async (until: () => boolean): Promise<void> => {
      while (!until()) {
        await Promise.all(
          Array.from({ length: 16 }, (_, film) =>
            ledger.publish(`m${n + film}`, `film-${film}`, () =>
              publisher.publish(sold, { film: `film-${film}`, n }, { id: `m${n + film}` }),
            ),
          ),
        )
        n += 16
      }
    }
    const worked = (...names: string[]): boolean => {
      const done = names.every((name) => (handledBy[name] ?? 0) >= 20)
      if (done) for (const name of names) handledBy[name] = 0
      return done
    }
    await publish(() => worked('first'))
    await Promise.all([member('second'), member('third')])
    await publish(() => worked('first', 'second', 'third'))
    await first.close()
    await publish(() => worked('second', 'third'))
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ lost: [], doubled: [], reordered: [], untried: [], unaccounted: [] })
  })

  it('is given another number of shards while messages are published, once its old ones are empty', async () => {
    const group = nextGroup()
    const ledger = new Ledger({ groups: [group], ordered: [group] })
    const [publisher, old, young] = [open(), open(), open()]
    const consume = (broker: Broker, shards: number): Promise<Consumer> =>
      broker.consume(
        sold,
        ledger.watch(group, () => new Promise((resolve) => setTimeout(resolve, 1))),
        { group, ordered: true, shards },
      )
    const before = await consume(old, 1)
    await expect(consume(young, 4)).rejects.toMatchObject({ code: 'ERR_QUEUE_CONFLICT' })
    let publishing = true
    const published = (async () => {
      for (let n = 0; publishing; n += 8) {
        await Promise.all(
          Array.from({ length: 8 }, (_, film) =>
            ledger.publish(`${group}-${n + film}`, `film-${film}`, () =>
              publisher.publish(sold, { film: `film-${film}`, n }, { id: `${group}-${n + film}` }),
            ),
          ),
        )
      }
    })()
    await vi.waitFor(() => expect(ledger.audit().confirmed).toBeGreaterThan(100), patience)
    const early = await reshard(group, 4)
    expect(early).toMatchObject({ code: 1, text: expect.stringMatching(/ERR_QUEUE_CONFLICT.*1 members with the old shards/) as string })
    await expect(consume(young, 4)).rejects.toMatchObject({ code: 'ERR_QUEUE_CONFLICT' })
    // Its part was to empty them: what is published now goes to the new ones.
    await vi.waitFor(async () => expect((await reshard(group, 4)).text).toMatch(/hold 0 messages/), patience)
    await before.close()
    await vi.waitFor(async () => expect(await reshard(group, 4)).toMatchObject({ code: 0 }), patience)
    await expect(consume(old, 1)).rejects.toMatchObject({ code: 'ERR_QUEUE_CONFLICT' })
    await consume(young, 4)
    publishing = false
    await published
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ lost: [], doubled: [], reordered: [], untried: [], unaccounted: [] })
    expect(await reshard(group, 4)).toMatchObject({ code: 0, text: expect.stringMatching(/^no shards before/) as string })
  })

  it('parks, replays and delays messages in the shard of their key', async () => {
    const group = nextGroup()
    const broker = open()
    const seen: string[] = []
    let broken = true
    await broker.consume(
      sold,
      async ({ body: { film, n } }) => {
        if (broken && n === 0) throw new Error('broken')
        seen.push(`${film}${n}`)
      },
      { group, ordered: true, shards: 4, retry: { maxAttempts: 1 } },
    )
    const films = ['a', 'b', 'c', 'd', 'e']
    for (const film of films) {
      await broker.publish(sold, { film, n: 0 })
      await broker.publish(sold, { film, n: 2 }, { delayMs: 300 })
      await broker.publish(sold, { film, n: 1 })
    }
    const dead = broker.deadLetters(sold, group)
    await vi.waitFor(async () => expect((await dead.list()).map(({ parked }) => parked)).toEqual(films.map(() => true)), patience)
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(seen).toEqual([])
    broken = false
    await expect(dead.release('nobody')).rejects.toMatchObject({ code: 'ERR_QUEUE_NOT_FOUND' })
    expect(await dead.replayAll()).toEqual({ done: 5, skipped: 0 })
    await vi.waitFor(() => expect(seen).toHaveLength(15), patience)
    for (const film of films) expect(seen.filter((each) => each.startsWith(film))).toEqual([`${film}0`, `${film}1`, `${film}2`])
    await expect(broker.deleteGroup(sold, group)).rejects.toMatchObject({ code: 'ERR_QUEUE_CONFLICT' })
  })
})
