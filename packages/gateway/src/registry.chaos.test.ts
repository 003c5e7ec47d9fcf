import { Agent } from 'node:http'
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'
import { startConsul } from '@platform/stack'
import { expect, it, onTestFinished } from 'vitest'
import { gatewayProgram } from './gateway-program.fixture.ts'
import { type EchoService, echoService, nginxPrograms, runGateway } from './gateway-run.fixture.ts'
import { counted, statusOf } from './open-loop.fixture.ts'

const routes = `
listeners: [{{listen}}]
services: { films: {} }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: films }] }
`
const POLL = { timeout: 60_000, interval: 50 }

/** Without a check, so that it stays until somebody takes it out. */
function places({ url }: { url: string }, services: readonly EchoService[]) {
  const put = async (path: string, body?: object) => {
    const { status } = await fetch(`${url}/v1/agent/service/${path}`, { method: 'PUT', body: JSON.stringify(body) })
    expect([path, status]).toEqual([path, 200])
  }
  const idOf = ({ port }: EchoService) => `films-${port}`
  return {
    register: () =>
      Promise.all(services.map((each) => put('register', { ID: idOf(each), Name: 'films', Address: '127.0.0.1', Port: each.port }))),
    deregister: () => Promise.all(services.map((each) => put(`deregister/${idOf(each)}`))),
  }
}

/** What a hundred requests a second are answered while this happens. */
async function answersWhile(ask: () => Promise<number>, happens: () => Promise<void>): Promise<Record<string, number>> {
  const asked: Promise<number>[] = []
  const asking = setInterval(() => void asked.push(ask()), 10)
  try {
    await happens()
  } finally {
    clearInterval(asking)
  }
  return counted(await Promise.all(asked))
}

it('the registry may die, come back and lose its data: nobody notices; without any instance it is 503, until there is one again', {
  timeout: 240_000,
}, async () => {
  await using registry = await startConsul({ fresh: true })
  await using first = await echoService('films', 1)
  await using second = await echoService('films', 2)
  const events: string[] = []
  const { register, deregister } = places(registry, [first, second])
  await register()
  await using discovery = createDiscovery({
    registry: consul({ url: registry.url, waitMs: 1000 }),
    onEvent: ({ type }) => void events.push(type),
  })
  await using byName = await runGateway(routes, { discovery })
  await using byReload = await runGateway(routes, {
    discovery,
    nginx: nginxPrograms.older,
    endpoints: 'reload',
    reloadIntervalMs: 200,
  })
  // An old nginx may close a kept connection at a reload.
  const agent = new Agent({ keepAlive: false })
  onTestFinished(() => agent.destroy())
  const urls = [`${byName.url}/films`, `${byReload.url}/films`]
  let asked = 0
  const ask = () => statusOf(urls[asked++ % 2]!, { agent })
  const ofEach = () => Promise.all(urls.map((url) => statusOf(url, { agent })))
  const ofMany = async () => counted(await Promise.all(Array.from({ length: 40 }, ask)))
  await expect.poll(ofMany, POLL).toEqual({ 200: 40 })

  const whileItIsAway = await answersWhile(ask, async () => {
    await registry.kill()
    await expect.poll(() => discovery.stats().services['films'], POLL).toEqual({ instances: 2, stale: true })
    await registry.restart()
    await expect.poll(() => discovery.stats().services['films'], POLL).toEqual({ instances: 2, stale: false })
  })
  expect(whileItIsAway).toEqual({ 200: expect.any(Number) })

  events.length = 0
  const whileItsDataIsLost = await answersWhile(ask, async () => {
    await deregister()
    await expect.poll(() => events, POLL).toContain('removal-held')
    await register()
  })
  expect(whileItsDataIsLost).toEqual({ 200: expect.any(Number) })

  const whileTheyLeave = await answersWhile(ask, async () => {
    await deregister()
    await expect.poll(ofEach, POLL).toEqual([503, 503])
  })
  expect(Object.keys(whileTheyLeave)).toEqual(['200', '503'])
  // At a reload the old workers accept beside the new ones for a moment.
  const told = async (url: string) => {
    const { status, headers } = await fetch(url)
    return [status, headers.get('retry-after'), headers.get('content-type')]
  }
  for (const url of urls) await expect.poll(() => told(url), POLL).toEqual([503, '1', 'application/problem+json'])

  const whileTheyComeBack = await answersWhile(ask, async () => {
    await register()
    await expect.poll(ofEach, POLL).toEqual([200, 200])
  })
  expect(Object.keys(whileTheyComeBack).filter((status) => status !== '200' && status !== '503')).toEqual([])
  await expect.poll(ofMany, POLL).toEqual({ 200: 40 })
})

it('the registry may be away when the gateway starts: the instances of the last run are asked', { timeout: 180_000 }, async () => {
  await using registry = await startConsul({ fresh: true })
  await using films = await echoService('films')
  await places(registry, [films]).register()
  await using program = await gatewayProgram(routes, '--consul', registry.url)
  const agent = new Agent({ keepAlive: false })
  onTestFinished(() => agent.destroy())
  const ask = () => statusOf(`${program.url}/films`, { agent })
  program.start()
  await expect.poll(ask, POLL).toBe(200)
  expect(await program.end('SIGTERM')).toBe(0)
  expect(await ask()).toBe(0)
  await registry.kill()
  program.start()
  await expect.poll(ask, POLL).toBe(200)
})
