import { testPostgres, testRabbitmq, testRedis } from '@platform/stack/testing'
import amqp from 'amqplib'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker } from '../index.ts'
import { driverAt } from '../testing/driver-at.ts'
import { sold } from '../testing/sold.ts'
import { main } from './main.ts'

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const texts = { out: '', err: '' }
  const output = { out: (text: string): void => void (texts.out += text), err: (text: string): void => void (texts.err += text) }
  const code = await main(argv, output, {})
  return { code, ...texts }
}

const which = ['--message', 'film.sold.v1', '--group', 'g']

describe('platform-queue', { timeout: 60_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let database: Awaited<ReturnType<typeof testPostgres>>
  let keyspace: Awaited<ReturnType<typeof testRedis>>
  beforeAll(async () => {
    ;[vhost, database, keyspace] = await Promise.all([testRabbitmq(), testPostgres(), testRedis()])
  })
  afterAll(async () => {
    await Promise.all([vhost?.close(), database?.close(), keyspace?.close()])
  })

  it.each([
    [['dlq', 'list'], /--message/],
    [['dlq', 'list', '--message', 'orders'], /--message/],
    [['dlq', 'list', '--message', 'a.v1'], /--group/],
    [['dlq', 'list', ...which], /--url/],
    [['dlq', 'replay', '--url', 'amqp://x', ...which], /--id or --all/],
    [['dlq', 'eat', ...which], /no command/],
    [['dlq', 'list', '--url', 'amqp://x', ...which, '--limit', 'many'], /--limit/],
    [['dlq', 'list', '--colour', 'red'], /colour/],
    [['topology', 'reshard', '--url', 'amqp://x', ...which], /--shards is missing/],
  ])('refuses %o', async (argv, text) => {
    const { code, err } = await run(...argv)
    expect(code).toBe(2)
    expect(err).toMatch(text)
  })

  it.each(['rabbitmq', 'postgres', 'redis'] as const)('lists, shows, replays and discards dead letters (%s)', async (kind) => {
    const { url } = { rabbitmq: vhost, postgres: database, redis: keyspace }[kind]
    await using broker = createBroker({ driver: driverAt(url), service: 'test' })
    const fail = (): Promise<never> => Promise.reject(new Error('no'))
    await broker.consume(sold, fail, { group: 'g', concurrency: 1, retry: { maxAttempts: 1 } })
    for (const n of [1, 2, 3]) await broker.publish(sold, { film: 'a', n }, { id: `m${n}` })
    await vi.waitFor(async () => expect(await broker.deadLetters(sold, 'g').count()).toBe(3), { timeout: 20_000 })
    const at = ['--url', url, ...which]
    const list = await run('dlq', 'list', ...at)
    expect(
      list.out
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { id: string }).id),
    ).toEqual(['m1', 'm2', 'm3'])
    expect(list.out).not.toContain('film":')
    expect(JSON.parse((await run('dlq', 'show', ...at, '--id', 'm2')).out)).toMatchObject({ id: 'm2', body: '{"film":"a","n":2}' })
    expect(await run('dlq', 'show', ...at, '--id', 'm9')).toMatchObject({ code: 1 })
    expect(await run('dlq', 'discard', ...at, '--id', 'm2')).toMatchObject({ code: 0, out: '1 discarded\n' })
    expect(await run('dlq', 'discard', ...at, '--id', 'm2')).toMatchObject({ code: 1, err: expect.stringMatching(/NOT_FOUND/) as string })
    expect(await run('dlq', 'replay', ...at, '--all')).toMatchObject({ code: 0, out: '2 replayed, 0 left alone\n' })
    await vi.waitFor(async () => expect((await broker.deadLetters(sold, 'g').list()).map(({ replays }) => replays)).toEqual([1, 1]), {
      timeout: 20_000,
    })
    expect(await run('dlq', 'discard', ...at, '--all')).toMatchObject({ out: '2 discarded, 0 left alone\n' })
  })

  it('plans a topology, makes what is missing, and names what differs without touching it', async () => {
    const at = ['--url', vhost.url, '--message', 'film.planned.v1', '--group', 'g', '--ordered']
    const before = await run('topology', 'plan', ...at)
    expect(before.code).toBe(1)
    expect(before.out).toContain('missing  queue platform/film.planned.v1/g\n')
    expect((await run('topology', 'apply', ...at)).code).toBe(0)
    const after = await run('topology', 'plan', ...at)
    expect(after).toMatchObject({ code: 0, out: expect.not.stringMatching(/missing|differs/) as string })

    const connection = await amqp.connect(vhost.url)
    const channel = await connection.createChannel()
    await channel.deleteQueue('platform/film.planned.v1/g/dead')
    await channel.assertQueue('platform/film.planned.v1/g/dead', {
      durable: true,
      arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 7 },
    })
    const different = await run('topology', 'apply', ...at)
    expect(different.code).toBe(1)
    expect(different.out).toMatch(/differs +queue platform\/film\.planned\.v1\/g\/dead: x-delivery-limit should be .*1000000000.*, is .*7/)
    expect(different.err).toMatch(/nothing was changed/)
    await connection.close()
  })

  it.each([
    [['plan', '--ordered', '--shards', '3'], /--shards must be one of 1, 2, 4, 8, 16, 32, 64/],
    [['plan', '--shards', '2'], /only with --ordered/],
  ])('refuses topology %o', async (argv, text) => {
    const { code, err } = await run('topology', ...argv, '--url', vhost.url, ...which)
    expect(code).toBe(1)
    expect(err).toMatch(text)
  })

  it('writes definitions that need no broker', async () => {
    const { code, out } = await run('topology', 'definitions', ...which)
    expect(code).toBe(0)
    const { queues, exchanges, bindings } = JSON.parse(out) as { queues: { name: string }[]; exchanges: object[]; bindings: object[] }
    expect(queues.map(({ name }) => name)).toContain('platform/film.sold.v1/g')
    expect(exchanges).toHaveLength(4)
    expect(bindings).toHaveLength(4)
    const sharded = JSON.parse((await run('topology', 'definitions', ...which, '--ordered', '--shards', '4')).out) as {
      queues: { name: string }[]
    }
    expect(sharded.queues.map(({ name }) => name)).toContain('platform/film.sold.v1/g/4/3')
  })
})
