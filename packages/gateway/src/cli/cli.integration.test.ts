import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { echoService, identityIssuer, runGateway, settableDiscovery } from '../gateway-run.fixture.ts'
import { main } from './main.ts'

async function command(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', '']
  const code = await main(args, { out: (text) => void (out += text), err: (text) => void (err += text) })
  return { code, out, err }
}
const routes = (issuer: string, port: string) => `
listeners: [${port}]
services: { catalog: {}, orders: {} }
identityProviders:
  customers: { issuer: '${issuer}', audience: film-store, jwksUri: '${issuer}/keys', algorithms: [ES256] }
routes:
  - name: films
    matches: [{ path: { value: /films }, method: GET }]
    auth: public
    backendRefs: [{ name: catalog }]
    filters: [{ cors: { allowOrigins: ['https://shop.example'] } }]
  - name: search
    matches: [{ path: { type: Exact, value: /search }, method: POST }]
    auth: public
    backendRefs: [{ name: catalog }]
    maxBodyBytes: 100
    rateLimit: { requests: 5, periodMs: 3600000, by: ip }
  - name: orders
    hostnames: ['*.orders.example']
    matches: [{ path: { value: / } }]
    auth: { jwt: customers }
    backendRefs: [{ name: orders }]
  - name: old
    matches: [{ path: { type: Exact, value: /old } }]
    auth: public
    filters: [{ requestRedirect: { path: { replaceFullPath: /films } } }]
  - name: nobody
    matches: [{ path: { value: /nobody } }]
    auth: public
    backendRefs: [{ name: orders }]
`

it('checks, shows, applies and asks for what a file promises', { timeout: 60_000 }, async () => {
  await using issuer = await identityIssuer()
  await using catalog = await echoService('catalog')
  const discovery = settableDiscovery({ catalog: [catalog.port], orders: [] })
  await using run = await runGateway(routes(issuer.url, '{{listen}}'), { discovery })
  const place = mkdtempSync(join(tmpdir(), 'platform-gateway-cli-'))
  onTestFinished(() => rmSync(place, { recursive: true }))
  const put = (text: string) => {
    const file = join(place, 'next.yaml')
    writeFileSync(file, text.replace('{{listen}}', `{ port: ${run.port}, address: 127.0.0.1 }`))
    return file
  }
  const same = put(routes(issuer.url, '{{listen}}'))
  expect(await command('check', same)).toMatchObject({ code: 0, out: expect.stringContaining('5 routes to 2 services') })
  await expect.poll(async () => (await fetch(`${run.url}/films`)).status, { timeout: 20_000 }).toBe(200)
  const contract = await command('contract', same, '--url', run.url)
  expect(contract.out).not.toContain('FAIL')
  expect(contract.code).toBe(0)
  expect(contract.out.split('\n').length).toBeGreaterThan(15)
  expect(await command('diff', same, '--folder', run.folder)).toMatchObject({ code: 0, out: 'no difference\n' })

  const text = routes(issuer.url, '{{listen}}').replace(
    'name: films\n    matches: [{ path: { value: /films }',
    'name: films\n    matches: [{ path: { value: /movies }',
  )
  const other = put(text.replace('requests: 5', 'requests: 6'))
  const shown = await command('diff', other, '--folder', run.folder)
  expect(shown.code).toBe(1)
  expect(shown.out).toContain('route films: changed (matches)')
  expect(shown.out).toContain('route search: changed (rateLimit)')
  expect(shown.out).toContain('no longer answered: any host GET /films')
  expect(shown.out).toMatch(/\d+ connections are open/)
  // What the file says and the gateway does not do is found.
  expect((await command('contract', other, '--url', run.url)).out).toContain('FAIL films: GET /movies is public')

  run.write(text)
  expect(await command('apply', '--folder', run.folder)).toMatchObject({ code: 0 })
  await expect.poll(async () => (await fetch(`${run.url}/movies`)).status, { timeout: 20_000 }).toBe(200)
  run.write('routes: [')
  const refused = await command('apply', '--folder', run.folder)
  expect(refused.code).toBe(1)
  expect(refused.err).toMatch(/gateway\.yaml:1:\d+: /)
})

it('says what is wrong with a file or a command', async () => {
  const place = mkdtempSync(join(tmpdir(), 'platform-gateway-cli-'))
  onTestFinished(() => rmSync(place, { recursive: true }))
  const file = join(place, 'gateway.yaml')
  writeFileSync(file, routes('https://id.example', '{ port: 1 }').replace('name: catalog', 'name: nobody'))
  expect(await command('check', file)).toEqual({ code: 1, out: '', err: 'gateway.yaml:10:21: route films: no service is called nobody\n' })
  expect((await command('schema')).out).toContain('"routes"')
  expect(await command('apply', '--folder', place)).toMatchObject({ code: 1, err: expect.stringContaining('no gateway runs') })
  for (const wrong of [[], ['check'], ['run', file], ['check', file, 'more'], ['check', file, '--nonsense'], ['nonsense', file]]) {
    expect(await command(...wrong)).toMatchObject({ code: 2, err: expect.stringContaining('Usage') })
  }
})
