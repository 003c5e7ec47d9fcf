import { testRabbitmq } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { silentLogger } from '../../shapes.ts'
import { KeyLog } from './key-log.ts'
import { Link } from './link.ts'
import { keyLog } from './names.ts'
import { resolveRabbitmqOptions, type ResolvedRabbitmqOptions } from './options.ts'
import { ConfirmPublisher } from './publisher.ts'

const sorted = (parked: ReadonlyMap<string, string>): [string, string][] => [...parked].toSorted(([a], [b]) => (a < b ? -1 : 1))

describe('the log of keys', { timeout: 60_000 }, () => {
  let vhost: Awaited<ReturnType<typeof testRabbitmq>>
  let options: ResolvedRabbitmqOptions
  let link: Link
  const signal = new AbortController().signal

  const logOf = async (queue: string): Promise<KeyLog> => {
    await link.withChannel((channel) => channel.assertQueue(keyLog(queue), { durable: true, arguments: { 'x-queue-type': 'stream' } }))
    return new KeyLog(link, new ConfirmPublisher(link, options), queue)
  }
  const times = (count: number, work: (n: number) => Promise<void>): Promise<unknown> =>
    Promise.all(Array.from({ length: count }, (_, n) => work(n)))

  beforeAll(async () => {
    vhost = await testRabbitmq()
    options = resolveRabbitmqOptions({ urls: [vhost.url] })
    link = new Link(options, 'test', silentLogger)
  })
  afterAll(async () => {
    await link?.close()
    await vhost?.close()
  })

  it('is written anew when it has become long, and says the same as before', async () => {
    const log = await logOf('compacted')
    await times(1_100, (n) => log.park(`key-${n}`, `letter-${n}`, signal))
    await times(1_097, (n) => log.unpark(`key-${n}`, signal))
    await log.tried('killer', { counted: 2, shown: 3 }, signal)
    await log.tried('innocent', { counted: 1, shown: 1 }, signal)
    await log.done('innocent', signal)
    const parked = [1_097, 1_098, 1_099].map((n) => [`key-${n}`, `letter-${n}`])
    const tries = [['killer', { counted: 2, shown: 3 }]]
    const first = await log.takeOver(signal)
    expect(first.entries).toBeGreaterThan(2_000)
    // Whoever had compacted it died at work: the next one is to be as careful as without.
    const second = await log.takeOver(signal)
    expect(second.entries).toBeLessThan(5)
    expect(sorted(first.parked)).toEqual(parked)
    expect(sorted(second.parked)).toEqual(parked)
    expect([...second.tries].map(([id, { counted, shown }]) => [id, { counted, shown }])).toEqual(tries)
    expect(second.clean).toBe(false)
    expect(sorted(await log.peek(signal))).toEqual(parked)
    await log.left([], signal)
    expect((await log.takeOver(signal)).clean).toBe(true)
  })

  it('is finished by the next member when the one who wrote it anew died in between', async () => {
    const log = await logOf('half')
    await log.park('a', 'lost with the stream', signal)
    const sum = { op: 'snapshot', parked: [['a', 'letter']], tries: [{ id: 'killer', counted: 1, shown: 2 }] }
    await link.withChannel(async (channel) => {
      await channel.assertQueue(`${keyLog('half')}/sum`, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
      channel.sendToQueue(`${keyLog('half')}/sum`, Buffer.from(JSON.stringify(sum)), { persistent: true })
      await channel.deleteQueue(keyLog('half'))
    })
    const state = await log.takeOver(signal)
    expect([...state.parked]).toEqual([['a', 'letter']])
    expect(state.tries.get('killer')).toMatchObject({ counted: 1, shown: 2 })
    expect(state.clean).toBe(false)
    await expect(link.withChannel((channel) => channel.checkQueue(`${keyLog('half')}/sum`))).rejects.toMatchObject({ code: 404 })
  })
})
