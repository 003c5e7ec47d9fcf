import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { writeCertificate } from './certificate.fixture.ts'
import { nginxPrograms, runGateway, settableDiscovery } from './gateway-run.fixture.ts'

let place: string
const filesOf = (name: string) => ({ certificateFile: join(place, `${name}.pem`), keyFile: join(place, `${name}-key.pem`) })
beforeAll(() => {
  place = mkdtempSync(join(tmpdir(), 'platform-certificates-'))
  for (const name of ['trusted', 'stranger']) writeCertificate(name, filesOf(name))
})
afterAll(() => rmSync(place, { recursive: true }))

/** Answers with its name; without a certificate it speaks no TLS. */
async function instance(name: 'trusted' | 'stranger' | 'plain'): Promise<number> {
  const handle = (_request: IncomingMessage, response: ServerResponse) => void response.end(name)
  const { certificateFile, keyFile } = filesOf(name)
  const server =
    name === 'plain' ? createPlainServer(handle) : createServer({ cert: readFileSync(certificateFile), key: readFileSync(keyFile) }, handle)
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

// The certificates are for `localhost`, so this is what the services are called that may have them.
const routes = () => `
listeners: [{{listen}}]
services:
  localhost: { tls: { caFile: ${filesOf('trusted').certificateFile} } }
  another-name: { tls: { caFile: ${filesOf('trusted').certificateFile} } }
routes:
  - { name: own, matches: [{ path: { value: /own } }], auth: public, backendRefs: [{ name: localhost }] }
  - { name: other, matches: [{ path: { value: /other } }], auth: public, backendRefs: [{ name: another-name }] }
  - { name: both, matches: [{ path: { value: /both } }], auth: public, backendRefs: [{ name: localhost, weight: 1 }, { name: another-name, weight: 1 }] }
`

describe.each([
  ['the newest nginx', {}],
  ['an older nginx', { nginx: nginxPrograms.older, endpoints: 'reload' as const }],
])('services by https on %s', (_name, options) => {
  const open = async (sets: Record<string, readonly number[]>) => {
    const run = await runGateway(routes(), { discovery: settableDiscovery(sets), ...options })
    onTestFinished(() => run[Symbol.asyncDispose]())
    return async (path: string) => {
      const answer = await fetch(`${run.url}${path}`)
      return { status: answer.status, text: await answer.text() }
    }
  }

  it('are asked by the name of the service, from the authority that is trusted', { timeout: 60_000 }, async () => {
    const ask = await open({ localhost: [await instance('trusted')] })
    await vi.waitUntil(async () => (await ask('/own')).status === 200, { timeout: 20_000 })
    expect(await ask('/own')).toEqual({ status: 200, text: 'trusted' })
  })

  it('one that is somebody else, or speaks no TLS, is passed over', { timeout: 60_000 }, async () => {
    const [trusted, stranger, plain] = [await instance('trusted'), await instance('stranger'), await instance('plain')]
    const ask = await open({ localhost: [stranger, trusted], 'another-name': [trusted] })
    await vi.waitUntil(async () => (await ask('/own')).status === 200, { timeout: 20_000 })
    // One after the other: thirty handshakes at once may take a busy machine longer than nginx waits for one.
    const answers: Awaited<ReturnType<typeof ask>>[] = []
    while (answers.length < 30) answers.push(await ask('/own'))
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(new Set(['200 trusted']))
    // Its certificate is for another name.
    expect((await ask('/other')).status).toBe(503)
    const nobody = await open({ localhost: [stranger, plain] })
    // Two that fail, and then, as both are passed over, nobody: 502 until it is 503, never an answer.
    const statuses = async () => Promise.all(Array.from({ length: 10 }, async () => (await nobody('/own')).status))
    const refused: number[] = []
    await vi.waitUntil(async () => refused.push(...(await statuses())) && refused.includes(503), { timeout: 20_000 })
    expect(refused.filter((status) => status !== 502 && status !== 503)).toEqual([])
  })

  it('of several services, each is asked by its own name', { timeout: 60_000 }, async () => {
    const trusted = await instance('trusted')
    const ask = await open({ localhost: [trusted], 'another-name': [trusted] })
    await vi.waitUntil(async () => (await ask('/own')).status === 200, { timeout: 20_000 })
    const found = new Set((await Promise.all(Array.from({ length: 60 }, () => ask('/both')))).map(({ status }) => status))
    expect(found).toEqual(new Set([200, 503]))
  })
})
