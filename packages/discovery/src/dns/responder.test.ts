import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, DiscoveryError, type Instance } from '../index.ts'
import { createDnsResponder, type DnsResponderOptions } from './responder.ts'
import { settableRegistry } from './settable-registry.fixture.ts'

type Place = Omit<Instance, 'id' | 'service'>
const POLL = { timeout: 15_000, interval: 10 }
const at = (index: number): Place => ({ address: `10.1.${Math.floor(index / 250)}.${(index % 250) + 1}`, port: 3000 })
const many = (count: number): Place[] => Array.from({ length: count }, (_, index) => at(index))
const code = async (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => 'answered',
    (error: { code: string }) => error.code,
  )

async function responding(options: Partial<DnsResponderOptions> = {}) {
  const registry = settableRegistry()
  const discovery = createDiscovery({ registry: registry.driver, emptyConfirmMs: 0 })
  const responder = createDnsResponder({ discovery, services: ['shop'], domain: 'test.internal', ...options })
  onTestFinished(async () => {
    await responder.close()
    await discovery.close()
  })
  await responder.ready()
  const resolver = new Resolver({ timeout: 5000, tries: 2 })
  resolver.setServers([responder.address!])
  const srv = async (name = '_http._tcp.shop.test.internal') =>
    (await resolver.resolveSrv(name)).toSorted((a, b) => a.name.localeCompare(b.name))
  const known = async (places: readonly Place[]): Promise<void> => {
    registry.set('shop', places)
    await vi.waitFor(() => expect(discovery.stats().services['shop']?.instances).toBe(places.length), POLL)
  }
  return { registry, discovery, responder, resolver, srv, known, port: Number(responder.address!.split(':').at(-1)) }
}

/** A question as a client that is not ours writes it. */
function question(name: string, type: number, { id = 7, flags = 0x0100, edns = 0 } = {}): Buffer {
  const labels = name.split('.').flatMap((label) => [Buffer.of(label.length), Buffer.from(label)])
  const header = Buffer.alloc(12)
  for (const [index, value] of [id, flags, 1, 0, 0, edns > 0 ? 1 : 0].entries()) header.writeUInt16BE(value, index * 2)
  const opt = edns > 0 ? Buffer.from([0, 0, 41, edns >> 8, edns & 0xff, 0, 0, 0, 0, 0, 0]) : Buffer.alloc(0)
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, type, 0, 1]), opt])
}

/** The first answer to any of the messages. */
async function overUdp(port: number, ...messages: Buffer[]): Promise<Buffer> {
  const socket = createSocket('udp4')
  try {
    for (const message of messages) socket.send(message, port, '127.0.0.1')
    const [answer] = (await once(socket, 'message', { signal: AbortSignal.timeout(20_000) })) as [Buffer]
    return answer
  } finally {
    socket.close()
  }
}

it('tells instances by SRV with weights and ports, and addresses by the names of their targets', async () => {
  const { resolver, srv, known } = await responding()
  await known([{ address: '10.0.0.7', port: 3000, weight: 3 }, { address: '2001:db8::1', port: 3001 }, at(0)])
  expect(await srv()).toMatchObject([
    { priority: 0, weight: 3, port: 3000, name: '0a000007.addr.test.internal' },
    { priority: 0, weight: 1, port: 3000, name: '0a010001.addr.test.internal' },
    { priority: 0, weight: 1, port: 3001, name: '20010db8000000000000000000000001.addr.test.internal' },
  ])
  expect(await srv('SHOP.Test.internal')).toEqual(await srv())
  expect((await resolver.resolve4('shop.test.internal')).toSorted()).toEqual(['10.0.0.7', '10.1.0.1'])
  expect(await resolver.resolve6('shop.test.internal')).toEqual(['2001:db8::1'])
  expect(await resolver.resolve4('0a000007.addr.test.internal', { ttl: true })).toEqual([{ address: '10.0.0.7', ttl: 3600 }])
  expect(await resolver.resolve6('20010db8000000000000000000000001.addr.test.internal')).toEqual(['2001:db8::1'])
  expect(await code(resolver.resolve6('0a000007.addr.test.internal'))).toBe('ENODATA')
  expect(await code(resolver.resolveTxt('shop.test.internal'))).toBe('ENODATA')
})

it('answers with every change, and for services that are added, until they are taken away', async () => {
  const { registry, responder, resolver, srv, known } = await responding()
  await known([at(0)])
  expect(await srv()).toHaveLength(1)
  await known([at(0), at(1)])
  expect(await srv()).toHaveLength(2)
  registry.set('orders.v2', [at(5)])
  expect(await code(resolver.resolveSrv('orders.v2.test.internal'))).toBe('ENOTFOUND')
  responder.update({ services: ['orders.v2'] })
  await vi.waitFor(async () => expect(await srv('_http._tcp.orders.v2.test.internal')).toHaveLength(1), POLL)
  expect(await code(srv())).toBe('ENOTFOUND')
})

it('fails while nothing is known, and never says that a configured service does not exist', async () => {
  const { srv, resolver, known } = await responding()
  expect(await code(srv())).toBe('ESERVFAIL')
  expect(await code(resolver.resolve4('shop.test.internal'))).toBe('ESERVFAIL')
  await known([])
  expect(await code(srv())).toBe('ENODATA')
  expect(await code(resolver.resolve4('shop.test.internal'))).toBe('ENODATA')
  await known([{ address: Array(4).fill('a'.repeat(60)).join('.'), port: 3000 }])
  expect(await code(srv()), 'there is one, and it cannot be told').toBe('ESERVFAIL')
  expect(await code(srv('_http._tcp.other.test.internal'))).toBe('ENOTFOUND')
  expect(await code(resolver.resolve4('example.com'))).toBe('EREFUSED')
})

it('answers with the sentinel for a service that has no instance, and without it as soon as there is one', async () => {
  const { srv, resolver, known } = await responding({ sentinel: { address: '127.0.0.1', port: 8099 } })
  await known([])
  expect(await srv()).toMatchObject([{ priority: 0, weight: 1, port: 8099, name: '7f000001.addr.test.internal' }])
  expect(await resolver.resolve4('shop.test.internal')).toEqual(['127.0.0.1'])
  await known([at(0)])
  expect(await srv()).toMatchObject([{ name: '0a010001.addr.test.internal' }])
})

it('finds the address of an instance that is registered by a host name, and resolves no other', async () => {
  const { srv, resolver, known } = await responding()
  await known([
    { address: 'LocalHost', port: 3000 },
    { address: 'nowhere.invalid', port: 3000 },
  ])
  expect((await srv()).map(({ name }) => name)).toEqual(['localhost.host.test.internal', 'nowhere.invalid.host.test.internal'])
  expect(await resolver.resolve4('localhost.host.test.internal')).toEqual(['127.0.0.1'])
  expect(await resolver.resolve4('shop.test.internal')).toEqual(['127.0.0.1'])
  expect(await code(resolver.resolve4('nowhere.invalid.host.test.internal'))).toBe('ESERVFAIL')
  expect(await code(resolver.resolve4('example.com.host.test.internal'))).toBe('ENOTFOUND')
})

it('marks what does not fit into a datagram and gives it over TCP; of more than a message holds, always the same part', async () => {
  const warn = vi.fn<(fields: object, message?: string) => void>()
  const { srv, known, port } = await responding({ logger: { debug() {}, info() {}, warn, error() {} } })
  await known(many(8))
  const small = await overUdp(port, question('shop.test.internal', 33))
  const large = await overUdp(port, question('shop.test.internal', 33, { edns: 4096 }))
  expect([small.readUInt16BE(2) & 0x0200, small.readUInt16BE(6), large.readUInt16BE(2) & 0x0200, large.readUInt16BE(6)]).toEqual([
    0, 8, 0, 8,
  ])
  await known(many(1000))
  for (const edns of [0, 4096]) {
    const cut = await overUdp(port, question('shop.test.internal', 33, { edns }))
    expect([cut.readUInt16BE(2) & 0x0200, cut.readUInt16BE(6)], 'no part is taken for the whole').toEqual([0x0200, 0])
  }
  expect(await srv()).toHaveLength(1000)
  expect(warn).not.toHaveBeenCalled()
  await known(many(2000))
  const part = await srv()
  expect(part.length).toBeGreaterThan(1200)
  expect(await srv()).toEqual(part)
  expect(warn.mock.calls).toEqual([[{ service: 'shop', instances: 2000 - part.length }, expect.any(String)]])
})

it('answers questions that come together on one connection, in their order', async () => {
  const { port, known } = await responding()
  await known(many(100))
  const socket = connect(port, '127.0.0.1')
  const framed = [1, 2, 3].flatMap((id) => {
    const message = question('shop.test.internal', 33, { id })
    return [Buffer.of(0, message.length), message]
  })
  const bytes = Buffer.concat(framed)
  socket.write(bytes.subarray(0, 1))
  socket.write(bytes.subarray(1))
  let received = Buffer.alloc(0)
  const ids: number[] = []
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    received = Buffer.concat([received, chunk])
    while (received.length > 2 && received.length >= 2 + received.readUInt16BE(0)) {
      ids.push(received.readUInt16BE(2))
      expect(received.readUInt16BE(2 + 6)).toBe(100)
      received = received.subarray(2 + received.readUInt16BE(0))
    }
    if (ids.length === 3) break
  }
  expect(ids).toEqual([1, 2, 3])
})

it('says what is wrong with a question, and is silent to what is none', async () => {
  const { port, known } = await responding()
  await known([at(0)])
  const good = question('shop.test.internal', 33)
  const codeOf = async (message: Buffer): Promise<number> => (await overUdp(port, message)).readUInt16BE(2) & 0xf
  const answeredAfter = async (message: Buffer): Promise<number> =>
    (await overUdp(port, message, question('shop.test.internal', 33, { id: 99 }))).readUInt16BE(0)
  expect(await codeOf(question('shop.test.internal', 33, { flags: 0x2800 })), 'an update').toBe(4)
  expect(await codeOf(good.subarray(0, 20)), 'cut').toBe(1)
  expect(await codeOf(good.with(5, 2) as Buffer<ArrayBuffer>)).toBe(1)
  expect(await codeOf(Buffer.concat([good.subarray(0, -1), Buffer.of(3)])), 'another class').toBe(5)
  expect(await codeOf(Buffer.concat([good.subarray(0, 12), Buffer.from([0xc0, 12, 0, 33, 0, 1])])), 'a name that points to itself').toBe(1)
  const badVersion = question('shop.test.internal', 33, { edns: 1232 })
  badVersion[badVersion.length - 5] = 1
  const refusal = await overUdp(port, badVersion)
  expect([refusal.readUInt16BE(2) & 0xf, refusal.at(-6)]).toEqual([0, 1])
  expect(await answeredAfter(good)).toBe(7)
  expect(await answeredAfter(question('shop.test.internal', 33, { flags: 0x8000 })), 'an answer').toBe(99)
  expect(await answeredAfter(Buffer.of(1, 2, 3))).toBe(99)
})

it('lives through any bytes, over UDP and TCP', async () => {
  const { port, srv, known } = await responding()
  await known([at(0)])
  const good = question('shop.test.internal', 33, { edns: 1232 })
  const damaged = fc
    .tuple(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }),
      fc.nat(good.length),
      fc.uint8Array({ maxLength: 40 }),
    )
    .map(([changes, length, tail]) => {
      const bytes = Buffer.from(good)
      for (const [index, byte] of changes) bytes[index] = byte
      return Buffer.concat([bytes.subarray(0, length), tail])
    })
  const hostile = fc.oneof(
    damaged,
    fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
  )
  const udp = createSocket('udp4')
  onTestFinished(() => void udp.close())
  await fc.assert(
    fc.asyncProperty(hostile, async (bytes) => {
      await new Promise<void>((resolve) => udp.send(bytes, port, '127.0.0.1', () => resolve()))
      if (bytes.length % 20 !== 0) return
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      socket.end(bytes)
      await once(socket.resume(), 'close').catch(() => {})
    }),
    { numRuns: 2000 },
  )
  expect(await srv()).toHaveLength(1)
})

it('says that its port is taken, listens when it is free, and leaves nothing behind', async () => {
  const taken = createServer()
  // Below the ports that outgoing connections get.
  const port = 23_000 + Math.floor(Math.random() * 9000)
  taken.listen(port, '127.0.0.1')
  await once(taken, 'listening')
  const discovery = createDiscovery({ registry: settableRegistry().driver })
  const responder = createDnsResponder({ discovery, services: ['shop'], port })
  const error: unknown = await responder.ready().catch((reason: unknown) => reason)
  expect(DiscoveryError.isInstance(error) && error.code).toBe('ERR_DISCOVERY_LISTEN')
  taken.close()
  await once(taken, 'close')
  await Promise.all([responder.ready(), responder.ready()])
  expect(responder.address).toBe(`127.0.0.1:${port}`)
  const open = connect(port, '127.0.0.1')
  await once(open, 'connect')
  await Promise.all([responder.close(), responder.close()])
  await once(open.resume(), 'close')
  await expect(responder.ready()).rejects.toMatchObject({ code: 'ERR_DISCOVERY_CLOSED' })
  await discovery.close()
  const again = createSocket('udp4')
  again.bind(port, '127.0.0.1')
  await once(again, 'listening')
  again.close()
})

it.each<[string, Partial<DnsResponderOptions> & { ttl?: number }]>([
  ['services', { services: ['no spaces'] }],
  ['services', { services: ['shop', 'Shop'] }],
  ['services', { services: ['a'.repeat(64)] }],
  ['domain', { domain: 'internal.' }],
  ['host', { host: 'localhost' }],
  ['port', { port: -1 }],
  ['ttlMs', { ttlMs: Number.NaN }],
  ['sentinel.address', { sentinel: { address: 'busy', port: 1 } }],
  ['sentinel.port', { sentinel: { address: '::1', port: 0 } }],
  ['ttl', { ttl: 1 }],
])('refuses a wrong %s', (option, options) => {
  const discovery = { watch: () => () => {} }
  expect(() => createDnsResponder({ discovery, services: [], ...options })).toThrow(
    expect.objectContaining({ code: 'ERR_DISCOVERY_OPTION', option }) as Error,
  )
})
