import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { echoService, identityIssuer, nginxPrograms, type Run, runGateway, settableDiscovery } from './gateway-run.fixture.ts'

const routes = (issuer: string) => `
listeners: [{{listen}}]
services: { catalog: {} }
identityProviders:
  customers: { issuer: '${issuer}', audience: film-store, jwksUri: '${issuer}/keys', algorithms: [ES256] }
routes:
  - name: films
    matches: [{ path: { value: /films } }]
    auth: public
    backendRefs: [{ name: catalog }]
  - name: orders
    matches: [{ path: { value: /orders } }]
    auth: { jwt: customers }
    backendRefs: [{ name: catalog }]
`
const kinds: [string, { nginx: string; endpoints?: 'reload' }][] = [
  ['by name server', { nginx: nginxPrograms.newest }],
  ['by reloads', { nginx: nginxPrograms.older, endpoints: 'reload' }],
]
const statusOf = async (run: Run, path = '/films') => (await fetch(`${run.url}${path}`)).status
const workersOf = (run: Run) => {
  const master = Number(readFileSync(`${run.folder}/nginx.pid`, 'utf8'))
  return readFileSync(`/proc/${master}/task/${master}/children`, 'utf8').trim()
}

/** Whether nginx follows the name server: an old one cannot. */
const byNameServer = (run: Run) => run.lines.some(({ fields }) => fields['endpoints'] === 'dns')

describe.each(kinds)('instances %s', (_name, options) => {
  it('come, go, all go and come back', { timeout: 90_000 }, async () => {
    await using issuer = await identityIssuer()
    await using first = await echoService('catalog', 1)
    await using second = await echoService('catalog', 2)
    const discovery = settableDiscovery({ catalog: [first.port] })
    await using run = await runGateway(routes(issuer.url), { discovery, reloadIntervalMs: 200, ...options })
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(200)
    const workers = workersOf(run)
    const reaches = async (instance: number) => {
      const answers = await Promise.all(
        Array.from({ length: 10 }, async () => (await fetch(`${run.url}/films`)).json() as Promise<{ instance: number }>),
      )
      return answers.some((answer) => answer.instance === instance)
    }
    discovery.say('catalog', [first.port, second.port])
    await expect.poll(() => reaches(2), { timeout: 20_000 }).toBe(true)
    discovery.say('catalog', [second.port])
    await expect.poll(() => reaches(1), { timeout: 20_000 }).toBe(false)
    discovery.say('catalog', [])
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(503)
    const empty = await fetch(`${run.url}/films`)
    expect(empty.headers.get('retry-after')).toBe('1')
    const back = performance.now()
    discovery.say('catalog', [first.port, second.port])
    await expect.poll(() => statusOf(run), { timeout: 20_000, interval: 50 }).toBe(200)
    // An empty answer would have been kept for 10 s.
    expect(performance.now() - back).toBeLessThan(6_000)
    expect(workersOf(run) === workers).toBe(byNameServer(run))
  })

  it('may be killed: the others answer; with all of them gone it is 503, and back with the first', { timeout: 90_000 }, async () => {
    await using issuer = await identityIssuer()
    const services = await Promise.all([1, 2, 3, 4, 5].map((n) => echoService('catalog', n)))
    const discovery = settableDiscovery({ catalog: services.map(({ port }) => port) })
    await using run = await runGateway(routes(issuer.url), { discovery, reloadIntervalMs: 200, ...options })
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(200)
    const asking = async (count: number) => Promise.all(Array.from({ length: count }, () => statusOf(run)))
    const before = asking(100)
    await services[0]![Symbol.asyncDispose]()
    expect((await Promise.all([before, asking(100), asking(100)])).flat().filter((status) => status !== 200)).toEqual([])
    for (const each of services.slice(1)) await each[Symbol.asyncDispose]()
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(503)
    await using again = await echoService('catalog', 6, services[2]!.port)
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(200)
    expect(again.seen.length).toBeGreaterThan(0)
  })
})

describe('a gateway', () => {
  it('lets nobody in while its verifier is away, and starts nginx again when that is killed', { timeout: 90_000 }, async () => {
    await using issuer = await identityIssuer()
    await using catalog = await echoService('catalog')
    await using run = await runGateway(routes(issuer.url), { discovery: settableDiscovery({ catalog: [catalog.port] }) })
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(200)
    expect(await statusOf(run, '/orders')).toBe(401)
    const pid = (): number => Number(readFileSync(`${run.folder}/nginx.pid`, 'utf8'))
    const killed = pid()
    const workers = readFileSync(`/proc/${killed}/task/${killed}/children`, 'utf8').trim().split(' ')
    expect(workers.length).toBeGreaterThan(0)
    process.kill(killed, 'SIGKILL')
    await expect.poll(pid, { timeout: 30_000 }).not.toBe(killed)
    await expect.poll(() => statusOf(run).catch(() => 0), { timeout: 30_000 }).toBe(200)
    expect(await run.gateway.check()).toBeUndefined()
    const runs = (worker: string): boolean =>
      existsSync(`/proc/${worker}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${worker}/status`, 'utf8'))
    expect(workers.filter(runs)).toEqual([])
  })

  it('goes on with its file when the new one is refused, by the schema, by nginx or by its answers', { timeout: 90_000 }, async () => {
    await using issuer = await identityIssuer()
    await using catalog = await echoService('catalog')
    const discovery = settableDiscovery({ catalog: [catalog.port] })
    await using run = await runGateway(routes(issuer.url), { discovery })
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(200)
    run.write(routes(issuer.url).replace('/films', '/movies').replace('services: { catalog: {} }', 'services: {}'))
    await expect(run.gateway.apply()).rejects.toMatchObject({ code: 'ERR_GATEWAY_FILE' })
    run.write(
      routes(issuer.url).replace('[{{listen}}]', '[{{listen}}, { port: 8443, tls: { certificateFile: /none.pem, keyFile: /none.key } }]'),
    )
    await expect(run.gateway.apply()).rejects.toMatchObject({ code: 'ERR_GATEWAY_NGINX' })
    expect(await statusOf(run)).toBe(200)
    // The new service has no instance: answers fail, the old file comes back.
    run.write(
      routes(issuer.url)
        .replace('services: { catalog: {} }', 'services: { catalog: {}, other: {} }')
        .replace('[{ name: catalog }]', '[{ name: other }]'),
    )
    const applied = run.gateway.apply({ probationMs: 20_000 }).then(
      () => 'taken',
      (error: { code: string }) => error.code,
    )
    let outcome: string | undefined
    void applied.then((result) => (outcome = result))
    while (outcome === undefined) await Promise.all(Array.from({ length: 5 }, () => statusOf(run)))
    expect(outcome).toBe('ERR_GATEWAY_NOT_TAKEN')
    // Old workers answer on kept connections for two seconds more.
    await expect.poll(() => statusOf(run), { timeout: 20_000 }).toBe(200)
    run.write(routes(issuer.url).replace('/films', '/movies'))
    await run.gateway.apply()
    await expect.poll(async () => [await statusOf(run), await statusOf(run, '/movies')], { timeout: 20_000 }).toEqual([404, 200])
  })
})
