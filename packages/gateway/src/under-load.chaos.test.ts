import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, createServer, type Server } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { pause } from '@platform/kernel'
import { freePort } from '@platform/stack'
import { expect, it, onTestFinished } from 'vitest'
import { writeCertificate } from './certificate.fixture.ts'
import { gatewayProgram } from './gateway-program.fixture.ts'
import { echoService, identityIssuer, runGateway, settableDiscovery } from './gateway-run.fixture.ts'
import { counted, openLoop, statusOf } from './open-loop.fixture.ts'

const routes = (more = '') => `
listeners: [{{listen}}${more}]
services: { films: {} }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: films }] }
`

function keptAlive(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  onTestFinished(() => agent.destroy())
  return agent
}

/** Answers with this status, after a while, and counts. */
async function instance(status = 200, afterMs = 0): Promise<{ server: Server; port: number; asked: () => number; end: () => void }> {
  let asked = 0
  const server = createServer((request, response) => {
    asked++
    request.resume()
    const answer = () => response.writeHead(status).end('x')
    if (afterMs === 0) answer()
    else setTimeout(answer, afterMs)
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const end = () => {
    server.closeAllConnections()
    server.close()
  }
  onTestFinished(() => {
    end()
  })
  return { server, port: (server.address() as AddressInfo).port, asked: () => asked, end }
}

it('one of three instances may die at 500 requests a second: no GET fails', { timeout: 60_000 }, async () => {
  const agent = keptAlive()
  const instances = [await instance(), await instance(), await instance()]
  await using run = await runGateway(routes(), { discovery: settableDiscovery({ films: instances.map(({ port }) => port) }) })
  const ask = () => statusOf(`${run.url}/films`, { agent })
  await expect.poll(ask, { timeout: 20_000 }).toBe(200)
  const load = openLoop(500, 4_000, ask)
  await expect.poll(() => instances[0]!.asked(), { timeout: 10_000 }).toBeGreaterThan(50)
  instances[0]!.end()
  expect(counted(await load)).toEqual({ 200: 2_000 })
})

it('a request whose set of instances changes between two tries is not lost', { timeout: 90_000 }, async () => {
  const agent = keptAlive()
  // Longer than nginx takes to see a change.
  const [sick, first, second] = [await instance(503, 3_000), await instance(), await instance()]
  const discovery = settableDiscovery({ films: [sick.port, first.port] })
  await using run = await runGateway(routes(), { discovery })
  const ask = () => statusOf(`${run.url}/films`, { agent })
  await expect.poll(ask, { timeout: 20_000 }).toBe(200)
  for (const healthy of [second, first]) {
    const asking: Promise<number>[] = []
    const before = sick.asked()
    while (sick.asked() === before) {
      asking.push(ask())
      await pause(20)
    }
    discovery.say('films', [sick.port, healthy.port])
    expect(counted(await Promise.all(asking))).toEqual({ 200: asking.length })
  }
})

it('all instances failing get no more than was offered', { timeout: 60_000 }, async () => {
  const agent = keptAlive()
  for (const failing of [500, 503]) {
    const instances = [await instance(failing), await instance(failing), await instance(failing)]
    await using run = await runGateway(routes(), { discovery: settableDiscovery({ films: instances.map(({ port }) => port) }) })
    await expect.poll(() => statusOf(`${run.url}/films`, { agent }), { timeout: 20_000 }).toBe(failing)
    const asked = () => instances.reduce((sum, each) => sum + each.asked(), 0)
    const before = asked()
    const statuses = await openLoop(300, 3_000, () => statusOf(`${run.url}/films`, { agent }))
    expect(counted(statuses)).toEqual({ [failing]: 900 })
    expect(asked() - before).toBeLessThanOrEqual(900 * 1.2)
  }
})

it('a certificate is replaced under load: no request fails, and new connections get the new one', { timeout: 90_000 }, async () => {
  const agent = new SecureAgent({ keepAlive: true, maxSockets: 16, rejectUnauthorized: false })
  onTestFinished(() => agent.destroy())
  const place = mkdtempSync(join(tmpdir(), 'platform-certificates-'))
  onTestFinished(() => rmSync(place, { recursive: true }))
  const files = { certificateFile: join(place, 'cert.pem'), keyFile: join(place, 'key.pem') }
  writeCertificate('first', files)
  const port = await freePort()
  const service = await instance()
  const listener = `, { port: ${port}, address: 127.0.0.1, tls: ${JSON.stringify(files)} }`
  await using run = await runGateway(routes(listener), { discovery: settableDiscovery({ films: [service.port] }) })
  const ask = () => statusOf(`https://127.0.0.1:${port}/films`, { agent })
  const presented = async () => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }).on('error', () => {})
    await once(socket, 'secureConnect')
    const { subject } = socket.getPeerCertificate()
    socket.destroy()
    return subject.CN
  }
  await expect.poll(ask, { timeout: 20_000 }).toBe(200)
  expect(await presented()).toBe('first')
  // They are looked at every ten seconds.
  const load = openLoop(100, 14_000, ask)
  writeCertificate('second', files)
  await expect.poll(presented, { timeout: 30_000 }).toBe('second')
  expect(counted(await load)).toEqual({ 200: 1_400 })
  expect(run.lines.filter(({ level }) => level === 'error')).toEqual([])
})

it('its control plane may be killed and come back under load: public routes go on, nobody gets in unasked', {
  timeout: 120_000,
}, async () => {
  await using service = await echoService('films')
  await using issuer = await identityIssuer()
  const agent = keptAlive()
  const own = `  - { name: own, matches: [{ path: { value: /own } }], auth: { jwt: customers }, backendRefs: [{ name: films }] }\n`
  const provider = `identityProviders:
  customers: { issuer: '${issuer.url}', audience: film-store, jwksUri: '${issuer.url}/keys', algorithms: [ES256] }\n`
  const text = routes().replace('routes:\n', `${provider}routes:\n`) + own
  await using program = await gatewayProgram(text, '--instance', `films=127.0.0.1:${service.port}`)
  const headers = { authorization: `Bearer ${await issuer.sign()}` }
  const ask = (path: string, more = {}) => statusOf(`${program.url}${path}`, { agent, ...more })
  program.start()
  await expect.poll(() => ask('/own', { headers }), { timeout: 40_000 }).toBe(200)
  let over = false
  const load = openLoop(100, 6_000, () => ask('/films'))
  const asking = (async () => {
    const seen = { known: new Set<number>(), stranger: new Set<number>() }
    while (!over) {
      seen.known.add(await ask('/own', { headers }))
      seen.stranger.add(await ask('/own'))
    }
    return seen
  })()
  await program.end('SIGKILL')
  expect(await ask('/own', { headers })).toBe(503)
  program.start()
  await expect.poll(() => ask('/own', { headers }), { timeout: 60_000 }).toBe(200)
  over = true
  const { known, stranger } = await asking
  expect(known).toEqual(new Set([200, 503]))
  expect(stranger).toEqual(new Set([401, 503]))
  expect(counted(await load)).toEqual({ 200: 600 })
})
