import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { echoService, nginxPrograms, runGateway, settableDiscovery } from './gateway-run.fixture.ts'
import { createGateway } from './index.ts'

const routes = `
listeners: [{{listen}}]
services: { films: {} }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: films }] }
`

it('serves the file that was last in force where the one at the start is wrong, and says so', { timeout: 60_000 }, async () => {
  await using films = await echoService('films')
  const discovery = settableDiscovery({ films: [films.port] })
  await using run = await runGateway(routes, { discovery })
  await expect.poll(async () => (await fetch(`${run.url}/films`)).status, { timeout: 20_000 }).toBe(200)
  await run.gateway.close()
  run.write(routes.replace('[{ name: films }]', '[{ name: film }]'))
  const said: [object, string | undefined][] = []
  const note = (fields: object, message?: string) => void said.push([fields, message])
  await using again = createGateway({
    file: join(run.folder, '..', 'gateway.yaml'),
    folder: run.folder,
    nginx: nginxPrograms.newest,
    workers: 1,
    discovery,
    logger: { debug() {}, info() {}, warn() {}, error: note },
  })
  await again.ready()
  await expect.poll(async () => (await fetch(`${run.url}/films`)).status, { timeout: 20_000 }).toBe(200)
  const reason: unknown = expect.stringContaining('no service is called film')
  expect(said).toContainEqual([{ reason }, 'the file of routes is refused; the last good one is served'])
  await expect(again.apply()).rejects.toMatchObject({ code: 'ERR_GATEWAY_FILE' })
  run.write(routes.replace('/films', '/movies'))
  await again.apply()
  await expect.poll(async () => (await fetch(`${run.url}/movies`)).status, { timeout: 20_000 }).toBe(200)
})

it('serves instances that come while nginx starts', { timeout: 60_000 }, async () => {
  await using early = await echoService('films', 1)
  await using late = await echoService('films', 2)
  const discovery = settableDiscovery({ films: [early.port] })
  let said = false
  const changing: typeof discovery = {
    ...discovery,
    watch(service, onChange) {
      const unwatch = discovery.watch(service, onChange)
      return () => {
        unwatch()
        // Who waited for the first sets has them: the text for nginx is made at once, and nginx begins with it.
        if (!said) setTimeout(() => discovery.say('films', [late.port]), 0)
        said = true
      }
    },
  }
  await using run = await runGateway(routes, { discovery: changing, endpoints: 'reload', reloadIntervalMs: 200 })
  const answers = async () => ((await (await fetch(`${run.url}/films`)).json()) as { instance: number }).instance
  await expect.poll(answers, { timeout: 20_000 }).toBe(2)
})

it('does not start with a wrong file where none was in force before', async () => {
  const discovery = settableDiscovery()
  await expect(runGateway(routes.replace('[{ name: films }]', '[{ name: film }]'), { discovery })).rejects.toMatchObject({
    code: 'ERR_GATEWAY_FILE',
    faults: [{ route: 'films', problem: 'no service is called film' }],
  })
})

it('a close ends a probation: nobody waits for its time', { timeout: 60_000 }, async () => {
  await using films = await echoService('films')
  await using run = await runGateway(routes, { discovery: settableDiscovery({ films: [films.port] }) })
  run.write(routes.replace('/films', '/movies'))
  const applied = run.gateway.apply({ probationMs: 600_000 }).catch((error: unknown) => error)
  await expect.poll(async () => (await fetch(`${run.url}/movies`)).status, { timeout: 20_000 }).toBe(200)
  const waiting = run.gateway.apply().catch((error: unknown) => error)
  await run.gateway.close({ timeoutMs: 500 })
  expect([await applied, await waiting]).toMatchObject([{ code: 'ERR_GATEWAY_CLOSED' }, { code: 'ERR_GATEWAY_CLOSED' }])
  await expect(fetch(`${run.url}/movies`)).rejects.toThrow('fetch failed')
})

it('instances come and go during a probation, an nginx that is killed is started again, and all answers of the file count', {
  timeout: 90_000,
}, async () => {
  await using first = await echoService('films', 1)
  await using second = await echoService('films', 2)
  const discovery = settableDiscovery({ films: [first.port] })
  await using run = await runGateway(routes, { discovery, endpoints: 'reload', reloadIntervalMs: 100 })
  run.write(routes.replace('/films', '/movies'))
  const applied = run.gateway.apply({ probationMs: 600_000 }).catch((error: unknown) => error)
  const instance = async () => {
    const answer = await fetch(`${run.url}/movies`)
    return answer.ok ? ((await answer.json()) as { instance: number }).instance : answer.status
  }
  await expect.poll(instance, { timeout: 20_000 }).toBe(1)
  discovery.say('films', [second.port])
  await expect.poll(instance, { timeout: 20_000 }).toBe(2)
  const master = () => Number(readFileSync(join(run.folder, 'nginx.pid'), 'utf8'))
  const killed = master()
  process.kill(killed, 'SIGKILL')
  await expect.poll(master, { timeout: 20_000 }).not.toBe(killed)
  await expect.poll(() => instance().catch(() => undefined), { timeout: 20_000 }).toBe(2)
  discovery.say('films', [])
  let settled = false
  void applied.then(() => (settled = true))
  await expect.poll(async () => (await instance().catch(() => undefined), settled), { timeout: 30_000, interval: 10 }).toBe(true)
  expect(await applied).toMatchObject({ message: expect.stringContaining('the old one is in force again') as string })
})

it('a probation does not go back for what failed before as well', { timeout: 60_000 }, async () => {
  let told = 0
  const count = (_fields: object, message?: string) => void (message === 'request' && told++)
  const logger = { debug: count, info: count, warn: count, error: count }
  await using run = await runGateway(routes, { discovery: settableDiscovery({ films: [] }), logger })
  const ask = () => fetch(`${run.url}/films`).then((answer) => answer.text())
  for (let n = 0; n < 30; n++) await ask()
  await expect.poll(() => told, { timeout: 20_000 }).toBeGreaterThan(20)
  let isOver = false
  const applied = run.gateway.apply({ probationMs: 3_000 }).finally(() => (isOver = true))
  while (!isOver) await ask().catch(() => {})
  await applied
})

it('a file that is to come into force waits for the probation of the one before', { timeout: 60_000 }, async () => {
  await using run = await runGateway(routes, { discovery: settableDiscovery({ films: [1] }) })
  const ended: string[] = []
  const first = run.gateway.apply({ probationMs: 3_000 }).then(() => ended.push('first'))
  await Promise.all([first, run.gateway.apply().then(() => ended.push('second'))])
  expect(ended).toEqual(['first', 'second'])
})

it('what is asked of the control socket and is no command is not there', async () => {
  await using run = await runGateway(routes, { discovery: settableDiscovery({ films: [1] }) })
  const statusOf = async (method: string, path: string) => {
    const outgoing = request({ socketPath: join(run.folder, 'control.sock'), method, path, agent: false }).end()
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    response.resume()
    return response.statusCode
  }
  expect(await Promise.all(['//', '/\\', 'http://', '/apply'].map((path) => statusOf('GET', path)))).toEqual([404, 404, 404, 404])
  expect(await statusOf('POST', '/apply?probationMs=x')).toBe(200)
})
