import { createServer } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { decodeAnswer } from '../dns/answer.ts'
import { createDnsResponder } from '../dns/responder.ts'
import { settableRegistry } from '../dns/settable-registry.fixture.ts'
import { createDiscovery, type DiscoveryOptions, type Instance } from '../index.ts'
import { dns, type DnsOptions } from './dns.ts'

const POLL = { timeout: 20_000, interval: 10 }
const [A, AAAA, SRV] = [1, 28, 33]
const NAME = 'shop.example'
const places = (instances: readonly Instance[]): string[] =>
  instances.map(({ address, port, weight = 1 }) => `${address}:${port}*${weight}`)

type Given = { ttl?: number; srv?: [priority: number, weight: number, port: number, target: string]; a?: number[] }

const bytesOf = (name: string): Buffer =>
  Buffer.concat([
    ...name
      .split('.')
      .filter(Boolean)
      .flatMap((label) => [Buffer.of(label.length), Buffer.from(label)]),
    Buffer.of(0),
  ])
const wide = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff)

function given(owner: Buffer, { ttl = 0, srv, a }: Given): Buffer {
  const type = srv !== undefined ? SRV : a?.length === 16 ? AAAA : A
  const data =
    srv !== undefined ? Buffer.concat([...srv.slice(0, 3).map((value) => wide(value as number)), bytesOf(srv[3])]) : Buffer.from(a!)
  const times = Buffer.alloc(4)
  times.writeUInt32BE(ttl)
  return Buffer.concat([owner, wide(type), wide(1), times, wide(data.length), data])
}

/** A name server whose answers the test decides: records, a response code, silence, or bytes that are no answer. */
async function nameServer() {
  const says = new Map<string, readonly Given[] | number | 'silence' | 'rubbish'>()
  const asked: string[] = []
  const server = createServer((socket) => {
    let pending = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length > 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const query = pending.subarray(2, 2 + pending.readUInt16BE(0))
        pending = pending.subarray(2 + query.length)
        const labels: string[] = []
        let at = 12
        while (query[at]! > 0) labels.push(query.toString('latin1', at + 1, (at += query[at]! + 1)))
        const key = `${labels.join('.')} ${query.readUInt16BE(at + 1)}`
        asked.push(key)
        const what = says.get(key) ?? []
        if (what === 'silence') continue
        const records = typeof what === 'object' ? what : []
        const header = Buffer.concat([
          query.subarray(0, 2),
          wide(0x8180 | (typeof what === 'number' ? what : 0)),
          wide(1),
          wide(records.length),
          wide(0),
          wide(0),
        ])
        const answer = Buffer.concat([header, query.subarray(12), ...records.map((record) => given(Buffer.of(0xc0, 12), record))])
        if (what === 'rubbish') answer.fill(0xff, 12)
        socket.write(Buffer.concat([wide(answer.length), answer]))
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as { port: number }
  return {
    address: `127.0.0.1:${port}`,
    asked,
    says: (name: string, type: number, what: readonly Given[] | number | 'silence' | 'rubbish') => says.set(`${name} ${type}`, what),
  }
}

function following(servers: string[], options: Partial<DnsOptions> = {}, more: Partial<DiscoveryOptions> = {}) {
  const registry = dns({ nameOf: (service) => `${service}.example`, servers, timeoutMs: 1000, ...options })
  const discovery = createDiscovery({ registry, emptyConfirmMs: 0, ...more })
  onTestFinished(() => discovery.close())
  return discovery
}

it('takes places, weights and addresses from SRV records, of the first priority only', async () => {
  const server = await nameServer()
  server.says(NAME, SRV, [
    { srv: [1, 5, 3000, 'one.example'] },
    { srv: [1, 0, 3001, 'two.example'] },
    { srv: [2, 9, 3002, 'spare.example'] },
  ])
  server.says('one.example', A, [{ a: [10, 0, 0, 1] }])
  server.says('two.example', AAAA, [{ a: [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] }])
  expect(places(await following([server.address]).resolve('shop'))).toEqual(['10.0.0.1:3000*5', '2001:db8::1:3001*1'])
})

it('falls back on the next priority when no target of a lower one has an address, and comes back', async () => {
  const server = await nameServer()
  const [SERVFAIL, NXDOMAIN] = [2, 3]
  server.says(NAME, SRV, [
    { srv: [3, 1, 3003, 'last.example'] },
    { srv: [1, 1, 3001, 'first.example'] },
    { srv: [2, 1, 3002, 'second.example'] },
    { srv: [1, 1, 3000, 'other.example'] },
  ])
  for (const name of ['first.example', 'other.example']) server.says(name, A, NXDOMAIN)
  server.says('second.example', A, [{ a: [10, 0, 0, 2] }])
  server.says('last.example', A, [{ a: [10, 0, 0, 3] }])
  const discovery = following([server.address])
  let seen: string[] | undefined
  discovery.watch('shop', (instances) => (seen = places(instances)))
  await vi.waitFor(() => expect(seen).toEqual(['10.0.0.2:3002*1']), POLL)
  server.says('other.example', A, [{ a: [10, 0, 0, 1] }])
  await vi.waitFor(() => expect(seen).toEqual(['10.0.0.1:3000*1']), POLL)
  server.says('other.example', A, SERVFAIL)
  const asked = (): number => server.asked.filter((key) => key === `other.example ${A}`).length
  const before = asked()
  await vi.waitFor(() => expect(asked()).toBeGreaterThan(before + 1), POLL)
  expect(seen, 'a failure of the server is no absence').toEqual(['10.0.0.1:3000*1'])
})

it('takes the addresses of a name that has no SRV records when it is told the port', async () => {
  const server = await nameServer()
  server.says(NAME, A, [{ a: [10, 0, 0, 1] }, { a: [10, 0, 0, 2] }])
  expect(places(await following([server.address], { port: 8080 }).resolve('shop'))).toEqual(['10.0.0.1:8080*1', '10.0.0.2:8080*1'])
})

it('believes that there is none, and no failure: the set stays while a server cannot say', async () => {
  const server = await nameServer()
  server.says(NAME, A, [{ a: [10, 0, 0, 1] }])
  const discovery = following([server.address], { port: 80 })
  let seen: string[] | undefined
  discovery.watch('shop', (instances) => (seen = places(instances)))
  await vi.waitFor(() => expect(seen).toEqual(['10.0.0.1:80*1']), POLL)
  const [SERVFAIL, NXDOMAIN, REFUSED] = [2, 3, 5]
  for (const failure of [SERVFAIL, REFUSED, 'silence', 'rubbish'] as const) {
    server.says(NAME, A, failure)
    await vi.waitFor(() => expect(discovery.stats().services['shop']).toEqual({ instances: 1, stale: true }), POLL)
    server.says(NAME, A, [{ a: [10, 0, 0, 1] }])
    await vi.waitFor(() => expect(discovery.stats().services['shop']).toEqual({ instances: 1, stale: false }), POLL)
  }
  server.says(NAME, A, NXDOMAIN)
  await vi.waitFor(() => expect(seen).toEqual([]), POLL)
})

it('leaves out the one target that nobody can tell of, and keeps what was known of it', async () => {
  const server = await nameServer()
  const [SERVFAIL] = [2]
  server.says(NAME, SRV, [{ srv: [0, 1, 1, 'good.example'] }, { srv: [0, 1, 2, 'bad.example'] }, { srv: [0, 1, 3, 'hung.example'] }])
  server.says('good.example', A, [{ a: [10, 0, 0, 1] }])
  server.says('bad.example', A, SERVFAIL)
  server.says('hung.example', A, 'silence')
  const discovery = following([server.address])
  let seen: string[] | undefined
  discovery.watch('shop', (instances) => (seen = places(instances)))
  await vi.waitFor(() => expect(seen).toEqual(['10.0.0.1:1*1']), POLL)
  server.says('bad.example', A, [{ a: [10, 0, 0, 2] }])
  await vi.waitFor(() => expect(seen).toEqual(['10.0.0.1:1*1', '10.0.0.2:2*1']), POLL)
  const count = server.asked.length
  server.says('bad.example', A, SERVFAIL)
  await vi.waitFor(() => expect(server.asked.slice(count).filter((key) => key === `bad.example ${A}`).length).toBeGreaterThan(1), POLL)
  expect(seen).toEqual(['10.0.0.1:1*1', '10.0.0.2:2*1'])
})

it('asks the next server when one is dead, hangs or cannot say', async () => {
  const [failing, silent, good] = [await nameServer(), await nameServer(), await nameServer()]
  failing.says(NAME, A, 2)
  silent.says(NAME, A, 'silence')
  good.says(NAME, A, [{ a: [10, 0, 0, 1] }])
  const servers = ['127.0.0.1:1', failing.address, silent.address, good.address]
  expect(places(await following(servers, { port: 80 }).resolve('shop'))).toEqual(['10.0.0.1:80*1'])
})

it('asks again when the TTL is over, not before, and never more often than the floor allows', async () => {
  const server = await nameServer()
  server.says(NAME, SRV, [{ ttl: 2, srv: [0, 1, 80, 'one.example'] }])
  server.says('one.example', A, [{ ttl: 3600, a: [10, 0, 0, 1] }])
  server.says('floor.example', A, [{ ttl: 0, a: [10, 0, 0, 1] }])
  const bySrv = following([server.address])
  const byAddress = following([server.address], { port: 80, minTtlMs: 1500 })
  const startedAt = performance.now()
  await Promise.all([bySrv.resolve('shop'), byAddress.resolve('floor')])
  const times = { shop: [0], floor: [0] }
  const count = (key: string): number => server.asked.filter((each) => each === key).length
  await vi.waitFor(() => {
    for (const [service, key] of [
      ['shop', `${NAME} ${SRV}`],
      ['floor', `floor.example ${A}`],
    ] as const) {
      while (times[service].length < count(key)) times[service].push(performance.now() - startedAt)
    }
    expect(Math.min(times.shop.length, times.floor.length)).toBeGreaterThanOrEqual(3)
  }, POLL)
  expect(times.shop[2]).toBeGreaterThan(3900)
  expect(times.floor[2]).toBeGreaterThan(2900)
  expect(count(`one.example ${A}`), 'an address of an hour is asked for once').toBe(1)
})

it('follows a responder with a thousand instances', async () => {
  const registry = settableRegistry()
  registry.set(
    'shop',
    Array.from({ length: 1000 }, (_, index) => ({ address: `10.1.${index >> 8}.${index & 255}`, port: 80 })),
  )
  const upstream = createDiscovery({ registry: registry.driver })
  const responder = createDnsResponder({ discovery: upstream, services: ['shop'] })
  onTestFinished(async () => {
    await responder.close()
    await upstream.close()
  })
  await responder.ready()
  await upstream.resolve('shop')
  const discovery = following([responder.address!], { nameOf: (service) => `${service}.platform.internal.`, timeoutMs: 10_000 })
  expect(await discovery.resolve('shop')).toHaveLength(1000)
})

it('takes no bytes for an answer that are none', () => {
  const question = { name: NAME, type: SRV }
  const header = Buffer.concat([wide(7), wide(0x8180), wide(1), wide(2), wide(0), wide(1), bytesOf(NAME), wide(SRV), wide(1)])
  const good = Buffer.concat([
    header,
    given(Buffer.of(0xc0, 12), { srv: [0, 1, 80, 'one.example'] }),
    given(Buffer.of(0xc0, 12), { srv: [0, 1, 81, ''] }),
    given(bytesOf('one.example'), { a: [10, 0, 0, 1] }),
  ])
  expect(decodeAnswer(good, question)).toMatchObject({ isSure: true, records: { length: 2 }, additional: [{ address: '10.0.0.1' }] })
  expect(Array.from({ length: good.length - 12 }, (_, cut) => decodeAnswer(good.subarray(0, 12 + cut), question)).filter(Boolean)).toEqual(
    [],
  )
  const changed = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 })
  fc.assert(
    fc.property(changed, (changes) => {
      const bytes = Buffer.from(good)
      for (const [index, byte] of changes) bytes[index] = byte
      const answer = decodeAnswer(bytes, question)
      return answer === undefined || answer.records.every(({ type, srv }) => type === SRV && srv !== undefined && srv.port <= 65_535)
    }),
    { numRuns: 20_000 },
  )
})

describe('options', () => {
  it.each<[string, object]>([
    ['nameOf', { nameOf: undefined }],
    ['nameOf', { nameOf: '{}.consul' }],
    ['port', { port: 0 }],
    ['servers', { servers: [] }],
    ['servers', { servers: ['localhost'] }],
    ['servers', { servers: ['127.0.0.1:99999'] }],
    ['servers', { servers: ['127.0.0.1/x'] }],
    ['minTtlMs', { minTtlMs: 999 }],
    ['timeoutMs', { timeoutMs: 0 }],
    ['ttl', { ttl: 5 }],
  ])('refuses a wrong %s', (option, options) => {
    const path = option === 'ttl' ? 'dns.ttl' : option
    expect(() => dns({ nameOf: String, ...options })).toThrow(
      expect.objectContaining({ code: 'ERR_DISCOVERY_OPTION', option: path }) as Error,
    )
  })

  it.each(['127.0.0.1', '127.0.0.1:8600', '::1', '[::1]', '[::1]:8600'])('takes %s for a server', (server) => {
    expect(dns({ nameOf: String, servers: [server] }).name).toBe('dns')
  })
})
