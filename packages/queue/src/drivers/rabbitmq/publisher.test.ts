import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../shapes.ts'
import { Link } from './link.ts'
import { resolveRabbitmqOptions } from './options.ts'
import { ConfirmPublisher } from './publisher.ts'
import { tierOf } from './tier.ts'
import { GivenBack } from './tries.ts'
import { roundUp } from './wait-queues.ts'
import { copyOf, fromWire, toWire } from './wire.ts'

describe('the publisher', () => {
  it('keeps nothing of what was given up, wherever it waits', async () => {
    const options = resolveRabbitmqOptions({ urls: ['amqp://127.0.0.1:1'] })
    const link = new Link(options, 'test', silentLogger)
    const publisher = new ConfirmPublisher(link, options)
    const abort = new AbortController()
    const reason = new Error('gone')
    const sent = Array.from({ length: 100 }, () =>
      publisher
        .send({ exchange: '', routingKey: 'q' }, { content: Buffer.alloc(8), options: {} }, { mandatory: false, signal: abort.signal })
        .catch((error: unknown) => error),
    )
    expect(publisher.kept).toBe(100)
    abort.abort(reason)
    expect(new Set(await Promise.all(sent))).toEqual(new Set([reason]))
    expect(publisher.kept).toBe(0)
    await publisher.flushed()
    await link.close()
  })
})

describe('wait queues', () => {
  it('rounds pauses up, by at most a quarter up to a minute and a half above, to a few tens of lengths', () => {
    const lengths = new Set<number>()
    for (let ms = 16; ms <= 3_600_000; ms = Math.ceil(ms * 1.01)) {
      const rounded = roundUp(ms)
      lengths.add(rounded)
      expect(rounded).toBeGreaterThanOrEqual(ms)
      expect(rounded / ms).toBeLessThanOrEqual(ms <= 65_536 ? 1.25 : 1.5)
    }
    expect(lengths.size).toBeLessThan(70)
    expect(roundUp(2_147_483_647)).toBeLessThan(2 ** 32)
  })
})

describe('what is known of messages that went back', () => {
  it('holds only while nobody else had them in between', () => {
    const known = new GivenBack()
    known.remember('a', 2, { counted: 1, shown: 1 })
    expect(known.recall('a', 3)).toMatchObject({ counted: 1, shown: 1 })
    expect(known.recall('a', 3)).toBeUndefined()
    known.remember('a', 2, { counted: 1, shown: 1 })
    expect(known.recall('a', 4)).toBeUndefined()
  })

  it('is bounded', () => {
    const known = new GivenBack()
    for (let n = 0; n < 10_001; n += 1) known.remember(String(n), 0, { counted: 0, shown: 0 })
    expect(known.recall('0', 1)).toBeUndefined()
    expect(known.recall('1', 1)).toBeDefined()
  })
})

describe('generations of RabbitMQ', () => {
  it.each([
    ['3.10.8', '3.10'],
    ['3.13.7', '3.10'],
    ['4.0.0', '4.0'],
    ['4.2.1-rc.1', '4.0'],
    ['4.3.0', '4.3'],
    ['5.0.0', '4.3'],
    ['3.9.1', undefined],
    ['', undefined],
    [undefined, undefined],
    [4, undefined],
  ])('takes %s for %s', (version, name) => {
    expect(tierOf(version)?.name).toBe(name)
  })
})

describe('the wire', () => {
  it('brings an envelope back as it was, through a copy as well, whatever the names of its headers', () => {
    const headers = { traceparent: '00-1', CC: 'a', 'X-Death': 'b', 'x-platform-attempt': 'c', constructor: 'd', '': 'x' }
    delete (headers as Record<string, string>)['']
    const envelope = { id: 'i', name: 'n', version: 1, key: 'k', headers, publishedAt: 1_700_000_000_123, body: '{"a":"\\u0000"}' }
    const { content, options } = toWire(envelope)
    const message = { content, properties: options, fields: {} } as never
    expect(fromWire(message)).toEqual(envelope)
    const copy = copyOf(message, { counted: 1, shown: 2 })
    expect(fromWire({ content: copy.content, properties: copy.options, fields: {} } as never)).toEqual(envelope)
  })
})
