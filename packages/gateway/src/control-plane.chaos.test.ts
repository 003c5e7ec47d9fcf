import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '@platform/stack'
import { expect, it, onTestFinished } from 'vitest'
import { echoService, identityIssuer, nginxPrograms } from './gateway-run.fixture.ts'

const cli = fileURLToPath(new URL('./cli.ts', import.meta.url))

it('may be killed: nginx goes on, and the next control plane takes it over and tells what happened meanwhile', {
  timeout: 90_000,
}, async () => {
  await using catalog = await echoService('catalog')
  await using issuer = await identityIssuer()
  const place = mkdtempSync(join(tmpdir(), 'platform-gateway-'))
  chmodSync(place, 0o755)
  const [file, folder, port] = [join(place, 'gateway.yaml'), join(place, 'run'), await freePort()]
  writeFileSync(
    file,
    `
listeners: [{ port: ${port}, address: 127.0.0.1 }]
services: { catalog: {} }
identityProviders:
  customers: { issuer: '${issuer.url}', audience: film-store, jwksUri: '${issuer.url}/keys', algorithms: [ES256] }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: catalog }] }
  - { name: orders, matches: [{ path: { value: /orders } }], auth: { jwt: customers }, backendRefs: [{ name: catalog }] }
`,
  )
  let said = ''
  const start = (): ChildProcess => {
    const control = spawn(
      process.execPath,
      [
        '--conditions=@platform/source',
        cli,
        'run',
        file,
        '--folder',
        folder,
        '--instance',
        `catalog=127.0.0.1:${catalog.port}`,
        '--nginx',
        nginxPrograms.newest,
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    )
    control.stdout.on('data', (text: Buffer) => (said += text.toString()))
    return control
  }
  const statusOf = async (path: string, headers: Record<string, string> = {}) =>
    (await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close', ...headers } }).catch(() => ({ status: 0 }))).status
  const token = { authorization: `Bearer ${await issuer.sign()}` }
  let child = start()
  onTestFinished(async () => {
    if (child.exitCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    rmSync(place, { recursive: true, force: true })
  })
  const pid = () => Number(readFileSync(join(folder, 'nginx.pid'), 'utf8'))
  await expect.poll(() => statusOf('/orders', token), { timeout: 40_000 }).toBe(200)
  const master = pid()

  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(await statusOf('/films/unattended')).toBe(200)
  expect(await statusOf('/orders', token)).toBe(503)

  child = start()
  await expect.poll(() => statusOf('/orders', token), { timeout: 40_000 }).toBe(200)
  expect(pid()).toBe(master)
  await expect.poll(() => said, { timeout: 20_000 }).toContain('/films/unattended')

  expect(await statusOf('/films/last')).toBe(200)
  child.kill('SIGTERM')
  const [code] = (await once(child, 'close')) as [number]
  expect(code).toBe(0)
  expect(await statusOf('/films')).toBe(0)
  // The lines that nginx wrote at its end, and each but once.
  expect(said.split('/films/last')).toHaveLength(2)
  expect(said.split('/films/unattended')).toHaveLength(2)
})
