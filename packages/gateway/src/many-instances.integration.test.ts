import { once } from 'node:events'
import { Agent, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Instance } from '@platform/discovery'
import { expect, it, onTestFinished } from 'vitest'
import { nginxPrograms, runGateway } from './gateway-run.fixture.ts'
import { statusOf } from './open-loop.fixture.ts'

const routes = `
listeners: [{{listen}}]
services: { films: { maxInstances: 200 } }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: films }] }
`

it.each([
  ['by name server', { nginx: nginxPrograms.newest }],
  ['by reloads', { nginx: nginxPrograms.older, endpoints: 'reload' as const }],
])('as many instances as the file says are all asked, %s', { timeout: 60_000 }, async (_how, options) => {
  const asked = new Set<string>()
  // One server at each address of this machine is as good as many.
  const server = createServer((request, response) => {
    asked.add(request.socket.localAddress ?? '')
    response.end()
  })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const addresses = Array.from({ length: 200 }, (_, n) => `127.0.0.${n + 1}`)
  const instances = addresses.map((address): Instance => ({ id: address, service: 'films', address, port }))
  const watch = (_service: string, onChange: (all: readonly Instance[]) => void) => {
    queueMicrotask(() => onChange(instances))
    return () => {}
  }
  await using run = await runGateway(routes, { discovery: { watch }, ...options })
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  onTestFinished(() => agent.destroy())
  const all = async () => {
    await Promise.all(addresses.map(() => statusOf(`${run.url}/films`, { agent })))
    return asked.size
  }
  await expect.poll(all, { timeout: 30_000 }).toBe(200)
  // A set that its memory does not hold nginx uses in part, and says so nowhere else.
  expect(run.lines.filter(({ fields }) => /\[(?:crit|alert)\]/.test(JSON.stringify(fields)))).toEqual([])
})
