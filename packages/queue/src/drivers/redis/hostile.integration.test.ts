import { startRedis } from '@platform/stack'
import { testRedis } from '@platform/stack/testing'
import { Cluster, Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { createBroker, defineMessage, type Broker } from '../../index.ts'
import { sold } from '../../testing/sold.ts'
import { redis, type RedisOptions } from '../redis.ts'

const patience = { timeout: 30_000, interval: 20 }
/** What the driver's keys of a destination begin with. */
const base = '{platform-queue:film.sold.v1}'

describe('redis driver and a server that is not as it should be', { timeout: 60_000 }, () => {
  let place: Awaited<ReturnType<typeof testRedis>>
  let raw: Redis
  let brokers: Broker[] = []
  let clients: (Redis | Cluster)[] = []
  const opened = <T extends Redis | Cluster>(client: T): T => {
    clients.push(client)
    return client
  }
  const broker = (options: RedisOptions = { url: place.url }, publishTimeoutMs = 10_000): Broker => {
    const made = createBroker({ driver: redis(options), service: 'hostile', publishTimeoutMs })
    brokers.push(made)
    return made
  }
  beforeAll(async () => {
    place = await testRedis()
    raw = new Redis(place.url)
  })
  afterEach(async () => {
    await Promise.all(brokers.map((made) => made.close({ timeoutMs: 5_000 })))
    brokers = []
    for (const client of clients) client.disconnect()
    clients = []
    await raw.flushdb()
  })
  afterAll(async () => {
    raw?.disconnect()
    await place?.close()
  })

  it('makes a group anew that is gone because Redis was emptied, and counts nothing of it as lost work', async () => {
    const own = broker()
    const seen: number[] = []
    await own.consume(sold, async ({ body }) => void seen.push(body.n), { group: 'g', ordered: true })
    await own.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    await raw.flushdb()
    await vi.waitFor(() => own.publish(sold, { film: 'a', n: 2 }), patience)
    await vi.waitFor(() => expect(seen).toEqual([1, 2]), patience)
    await expect(own.check()).resolves.toBeUndefined()
  })

  it('knows no script after a restart or a flush, and sends it again', async () => {
    await using alone = await startRedis({ fresh: true })
    const own = broker({ url: alone.url })
    const seen: number[] = []
    await own.consume(sold, async ({ body }) => void seen.push(body.n), { group: 'g' })
    await opened(new Redis(alone.url)).script('FLUSH')
    await own.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    await own.close()
  })

  it.each([false, true])('makes a dead letter of what somebody wrote into its keys, and goes on (ordered: %s)', async (ordered) => {
    const own = broker()
    const seen: number[] = []
    await own.consume(sold, async ({ body }) => void seen.push(body.n), { group: 'g', ordered })
    const hostile = ['', 'no NUL', 'k\0{', 'k\0null', 'k\0{"id":1}', '\0[]', '\0{"id":"x","name":"y","version":1,"headers":{"a":7}}']
    for (const [index, record] of hostile.entries()) {
      // Far from the numbers that publishing draws.
      const number = `${1_000_000 + index}`.padStart(16, '0')
      await raw.hset(`${base}:g:messages`, number, record)
      await raw.xadd(`${base}:g:ready`, '*', 'm', number)
    }
    // An entry without a message is nothing.
    await raw.xadd(`${base}:g:ready`, '*', 'm', '9999999999999999')
    await own.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    const dead = own.deadLetters(sold, 'g')
    await vi.waitFor(async () => expect(await dead.count()).toBe(hostile.length), patience)
    for (const { id, reason } of await dead.list()) {
      expect(reason).toMatch(/^invalid/)
      await dead.discard(id)
    }
    expect(await raw.xlen(`${base}:g:ready`)).toBe(0)
    expect(await raw.hlen(`${base}:g:messages`)).toBe(0)
  })

  it('leaves nothing behind but the group, however a message ended', async () => {
    const own = broker()
    let broken = true
    const done: number[] = []
    const options = { group: 'g', ordered: true, retry: { maxAttempts: 2, initialDelayMs: 5 } }
    await own.consume(
      sold,
      async ({ body: { n } }) => {
        if (broken && n % 4 === 0) throw new Error('broken')
        done.push(n)
      },
      options,
    )
    for (let n = 0; n < 12; n += 1) await own.publish(sold, { film: `f${n % 4}`, n }, { delayMs: n % 3 === 0 ? 10 : 0 })
    const dead = own.deadLetters(sold, 'g')
    await vi.waitFor(async () => expect(await dead.count()).toBe(1), patience)
    broken = false
    await dead.replayAll()
    await vi.waitFor(() => expect(done.length).toBe(12), patience)
    await vi.waitFor(async () => expect(await raw.hlen(`${base}:g:messages`)).toBe(0), patience)
    const keys = (await raw.keys('*')).toSorted()
    expect(keys).toEqual([`${base}:g:ready`, `${base}:g:state`, `${base}:groups`, `${base}:number`])
    expect(await raw.xlen(`${base}:g:ready`)).toBe(0)
  })

  it('refuses what is larger than it may be, and it alone', async () => {
    const big = defineMessage('big', { version: 1, schema: z.object({ text: z.string() }) })
    const own = broker({ url: place.url, maxMessageBytes: 2_000 })
    await own.consume(big, async () => {}, { group: 'g' })
    const outcomes = await Promise.allSettled([1, 3_000, 1].map((size) => own.publish(big, { text: 'x'.repeat(size) })))
    expect(outcomes.map((outcome) => outcome.status === 'rejected' && (outcome.reason as { code: string }).code)).toEqual([
      false,
      'ERR_QUEUE_REFUSED',
      false,
    ])
  })

  it('renews a broadcast subscription though another one cannot be', async () => {
    const added = defineMessage('film.added', { version: 1, schema: z.object({ n: z.number() }) })
    const own = broker()
    const leasesOf = (name: string): string => `{platform-queue:${name}.v1}:leases`
    const endsAt = async (name: string): Promise<number> => Number((await raw.zrange(leasesOf(name), '0', '-1', 'WITHSCORES'))[1])
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      await own.consume(sold, async () => {}, { group: 'broadcast' })
      await own.consume(added, async () => {}, { group: 'broadcast' })
      const before = await endsAt('film.added')
      await raw.set(leasesOf('film.sold'), 'what somebody wrote')
      vi.advanceTimersByTime(20_000)
      await expect.poll(() => endsAt('film.added'), { timeout: 20_000 }).toBeGreaterThan(before)
    } finally {
      vi.useRealTimers()
    }
  })

  it('goes on consuming when memory is full, where publishes wait for it', async () => {
    await using server = await startRedis({ fresh: true })
    const admin = opened(new Redis(server.url))
    const own = broker({ url: server.url })
    const hasty = broker({ url: server.url }, 1_000)
    await hasty.ready()
    const seen: number[] = []
    const absent = await own.consume(sold, async () => {}, { group: 'g', ordered: true })
    await absent.close()
    for (let n = 0; n < 20; n += 1) await own.publish(sold, { film: `f${n % 3}`, n })
    await admin.config('SET', 'maxmemory', '100kb')
    await expect(hasty.publish(sold, { film: 'a', n: 99 })).rejects.toMatchObject({ code: 'ERR_QUEUE_TIMEOUT' })
    await expect(own.check()).resolves.toMatchObject({ status: 'warn', message: expect.stringContaining('out of memory') as string })
    await broker({ url: server.url }).ready({ signal: AbortSignal.timeout(20_000) })
    let attempts = 0
    await own.consume(
      sold,
      async ({ body: { n }, attempt }) => {
        attempts += 1
        if (n === 7 && attempt === 1) throw new Error('not yet')
        seen.push(n)
      },
      { group: 'g', ordered: true, retry: { maxAttempts: 3, initialDelayMs: 10 } },
    )
    await vi.waitFor(() => expect(seen.length).toBe(20), patience)
    expect(attempts).toBe(21)
    await admin.config('SET', 'maxmemory', '0')
    await own.publish(sold, { film: 'a', n: 100 })
  })

  it('tells a caller whom the server does not let in, and does not try for ever', async () => {
    const url = new URL(place.url)
    url.password = 'wrong'
    const own = broker({ url: url.href })
    await expect(own.consume(sold, async () => {}, { group: 'g' })).rejects.toMatchObject({ code: 'ERR_QUEUE_REFUSED' })
    const refused: unknown = await own.publish(sold, { film: 'a', n: 1 }).catch((error: unknown) => error)
    // ioredis 5 sends commands although it was not let in.
    const said = expect.stringMatching(/^(WRONGPASS|NOAUTH)/) as string
    expect(refused).toMatchObject({ code: 'ERR_QUEUE_REFUSED', cause: { message: said } })
    await expect(own.check()).rejects.toMatchObject({ code: 'ERR_QUEUE_UNAVAILABLE' })
  })

  it('warns of a server that may evict messages', async () => {
    await using server = await startRedis({ fresh: true, settings: { maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' } })
    await expect(broker({ url: server.url }).check()).resolves.toMatchObject({
      status: 'warn',
      message: expect.stringContaining('allkeys-lru') as string,
    })
  })

  it.each([
    ['ioredis 6', () => new Redis(place.url, { keyPrefix: 'app:', maxRetriesPerRequest: 1 })],
    ['ioredis 5', () => new Redis5(place.url, { keyPrefix: 'app:' }) as unknown as Redis],
  ])('makes connections like a lent client (%s) and leaves that open', async (_name, make) => {
    const client = opened(make())
    const own = broker({ client })
    const calls = vi.fn<(channel: string, text: string) => void>()
    const listener = opened(new Redis(place.url))
    await listener.subscribe(`${base}:g:wake`)
    listener.on('message', calls)
    const seen = new Set<number>()
    await own.consume(sold, async ({ body }) => void seen.add(body.n), { group: 'g' })
    // A member that sleeps is told, where it listens.
    let n = 0
    await vi.waitFor(async () => {
      n += 1
      await own.publish(sold, { film: 'a', n })
      expect(calls).toHaveBeenCalledWith(`${base}:g:wake`, '')
    }, patience)
    await vi.waitFor(() => expect(seen.size).toBe(n), patience)
    await vi.waitFor(async () => expect(await own.check()).toBeUndefined(), patience)
    expect(await raw.keys('app:*')).toEqual([])
    await own.close()
    expect(await client.ping()).toBe('PONG')
  })

  it('works in a Cluster', async () => {
    await using server = await startRedis({ fresh: true, settings: { 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' } })
    const setup = opened(new Redis(server.url))
    await setup.cluster('ADDSLOTSRANGE', 0, 16_383)
    await vi.waitFor(async () => expect(await setup.cluster('INFO')).toContain('cluster_state:ok'), patience)
    const { hostname, port, password } = new URL(server.url)
    const client = opened(new Cluster([{ host: hostname, port: Number(port) }], { redisOptions: { password } }))
    const own = broker({ client })
    const seen: number[] = []
    for (const group of ['one', 'two']) await own.consume(sold, async ({ body }) => void seen.push(body.n), { group, ordered: true })
    await own.publish(sold, { film: 'a', n: 1 })
    await own.publish(sold, { film: 'a', n: 2 }, { delayMs: 20 })
    await vi.waitFor(() => expect(seen.toSorted((a, b) => a - b)).toEqual([1, 1, 2, 2]), patience)
    await own.close()
  })
})
