import { expect, it } from 'vitest'
import { echoService, runGateway, type Seen, settableDiscovery } from './gateway-run.fixture.ts'

const routes = (trusted: string) => `
listeners: [{{listen}}]
trustedProxies: [${trusted}]
services: { films: {} }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: films }] }
  - name: few
    matches: [{ path: { value: /few } }]
    auth: public
    backendRefs: [{ name: films }]
    rateLimit: { requests: 2, periodMs: 3600000, by: ip }
`

it("is that of the connection, unless a proxy that the file trusts tells another's; an IPv6 network is one client", {
  timeout: 60_000,
}, async () => {
  await using films = await echoService('films')
  const discovery = settableDiscovery({ films: [films.port] })
  const open = (trusted: string) => runGateway(routes(trusted), { discovery })
  await using behind = await open('127.0.0.0/8, 10.0.0.0/8')
  await using before = await open('10.0.0.0/8')
  const ask = async (url: string, forwarded: string) => fetch(url, { headers: { 'x-forwarded-for': forwarded } })
  for (const { url } of [behind, before]) await expect.poll(async () => (await fetch(`${url}/films`)).status, { timeout: 20_000 }).toBe(200)
  const told = async (url: string, forwarded: string) =>
    ((await (await ask(`${url}/films`, forwarded)).json()) as Seen).headers['x-forwarded-for']
  expect(await told(behind.url, '203.0.113.7')).toBe('203.0.113.7')
  // The last one that no proxy of ours has: whatever is before it a client may have invented.
  expect(await told(behind.url, '6.6.6.6, 203.0.113.7, 10.1.2.3')).toBe('203.0.113.7')
  expect(await told(behind.url, 'no address')).toBe('127.0.0.1')
  expect(await told(before.url, '203.0.113.7')).toBe('127.0.0.1')

  const statuses = async (addresses: readonly string[]) => {
    const found: number[] = []
    for (const address of addresses) found.push((await ask(`${behind.url}/few`, address)).status)
    return found
  }
  expect(await statuses(['2001:db8:0:1::1', '2001:db8:0:1:2::2', '2001:db8::1:3:0:0:3'])).toEqual([200, 200, 429])
  expect(await statuses(['2001:db8:0:2::1', '2001:db8::1'])).toEqual([200, 200])
  expect(await statuses(['198.51.100.1', '198.51.100.1', '198.51.100.1', '198.51.100.2'])).toEqual([200, 200, 429, 200])
})
