import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { gatewayProgram } from './gateway-program.fixture.ts'
import { echoService, identityIssuer } from './gateway-run.fixture.ts'

it('may be killed: nginx goes on, and the next control plane takes it over and tells what happened meanwhile', {
  timeout: 90_000,
}, async () => {
  await using catalog = await echoService('catalog')
  await using issuer = await identityIssuer()
  const routes = `
listeners: [{{listen}}]
services: { catalog: {} }
identityProviders:
  customers: { issuer: '${issuer.url}', audience: film-store, jwksUri: '${issuer.url}/keys', algorithms: [ES256] }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: catalog }] }
  - { name: orders, matches: [{ path: { value: /orders } }], auth: { jwt: customers }, backendRefs: [{ name: catalog }] }
`
  await using program = await gatewayProgram(routes, '--instance', `catalog=127.0.0.1:${catalog.port}`)
  const ask = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${program.url}${path}`, { headers: { connection: 'close', ...headers } })
  const statusOf = async (path: string, headers?: Record<string, string>) => (await ask(path, headers).catch(() => ({ status: 0 }))).status
  const token = { authorization: `Bearer ${await issuer.sign()}` }
  const pid = () => Number(readFileSync(join(program.folder, 'nginx.pid'), 'utf8'))
  program.start()
  await expect.poll(() => statusOf('/orders', token), { timeout: 40_000 }).toBe(200)
  const master = pid()

  await program.end('SIGKILL')
  expect(await statusOf('/films/unattended')).toBe(200)
  const unverified = await ask('/orders', token)
  expect([unverified.status, unverified.headers.get('retry-after')]).toEqual([503, '1'])
  expect(unverified.headers.get('content-type')).toBe('application/problem+json')
  expect(await unverified.json()).toMatchObject({ title: 'Service Unavailable', status: 503 })

  program.start()
  await expect.poll(() => statusOf('/orders', token), { timeout: 40_000 }).toBe(200)
  expect(pid()).toBe(master)
  await expect.poll(() => program.said, { timeout: 20_000 }).toContain('/films/unattended')

  expect(await statusOf('/films/last')).toBe(200)
  expect(await program.end('SIGTERM')).toBe(0)
  expect(await statusOf('/films')).toBe(0)
  // The lines that nginx wrote at its end, and each but once.
  expect(program.said.split('/films/last')).toHaveLength(2)
  expect(program.said.split('/films/unattended')).toHaveLength(2)
})
