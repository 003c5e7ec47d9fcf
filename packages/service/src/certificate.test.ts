import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Agent, createServer as createTlsServer, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { first, second } from './certificates.fixture.ts'
import { httpServer } from './http/index.ts'
import { createService } from './index.ts'

const all = `${first.cert}${second.cert}`
let folder: string
let files: { certificateFile: string; keyFile: string }
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'platform-service-'))
  files = { certificateFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') }
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(folder, { recursive: true })
})

function write({ cert, key }: { cert: string; key: string }): void {
  writeFileSync(files.certificateFile, cert)
  writeFileSync(files.keyFile, key)
}

/** Who answers, to a client that verifies it, and with what. */
function ask(port: number, path = '/', agent?: Agent): Promise<{ name: string; status: number }> {
  return new Promise((resolve, reject) => {
    request({ host: 'localhost', port, path, ca: all, agent: agent ?? new Agent() }, (response) => {
      const name = String((response.socket as TLSSocket).getPeerCertificate().subject?.CN)
      response.resume().once('end', () => resolve({ name, status: response.statusCode! }))
    })
      .once('error', reject)
      .end()
  })
}

async function serving(logger?: Parameters<typeof httpServer>[1]['logger']) {
  const http = httpServer(
    createTlsServer((_, response) => response.end('ok')),
    { port: 0, host: '127.0.0.1', minDrainMs: 0, tls: files, logger },
  )
  onTestFinished(() => http.close({ timeoutMs: 0 }))
  await http.ready()
  return http
}

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
/** The looks of a minute, however slow the machine is. */
const aMinuteLater = () => vi.advanceTimersByTimeAsync(60_000)

it('serves the certificate of its files, and a renewed one to whoever connects from then on', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  write(first)
  const { port } = await serving()
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  expect(await ask(port, '/', agent)).toEqual({ name: 'first', status: 200 })
  write(second)
  await aMinuteLater()
  expect(await ask(port)).toEqual({ name: 'second', status: 200 })
  expect((await ask(port, '/', agent)).status).toBe(200)
})

it('keeps the certificate of before while key and certificate do not belong together, and takes them once they do', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  write(first)
  const errors: string[] = []
  const { port } = await serving({ ...quiet, error: (_fields, message) => errors.push(message!) })
  writeFileSync(files.certificateFile, second.cert)
  await aMinuteLater()
  expect(await ask(port)).toEqual({ name: 'first', status: 200 })
  expect(errors).toContain('the new certificate cannot be taken; the one of before stays')
  writeFileSync(files.keyFile, second.key)
  await aMinuteLater()
  expect(await ask(port)).toEqual({ name: 'second', status: 200 })
})

it('the admin listener speaks TLS on every path', async () => {
  write(first)
  const service = createService({
    name: 'films',
    components: { db: { close: async () => {} } },
    admin: { port: 0, token: 'secret', tls: files },
  })
  onTestFinished(async () => void (await service.stop('test')))
  await service.start()
  const port = service.adminPort!
  expect(await ask(port, '/ready')).toEqual({ name: 'first', status: 200 })
  expect((await ask(port, '/status')).status).toBe(401)
  await expect(fetch(`http://127.0.0.1:${port}/ready`)).rejects.toThrow('fetch failed')
})

it('refuses what can never serve, by the name of the option', () => {
  const make = (server: Parameters<typeof httpServer>[0], tls: unknown) => () => httpServer(server, { port: 0, tls: tls as typeof files })
  const wrong = (message: RegExp) => expect.objectContaining({ code: 'ERR_SERVICE_OPTION', message: expect.stringMatching(message) })
  expect(make(createTlsServer(), files)).toThrow(wrong(/^tls names no certificate/))
  write(first)
  writeFileSync(files.keyFile, second.key)
  expect(make(createTlsServer(), files)).toThrow(wrong(/^tls names no certificate/))
  expect(make(createServer(), files)).toThrow(wrong(/^tls needs a server that speaks TLS/))
  expect(make(createTlsServer(), { certificateFile: 'x' })).toThrow(wrong(/^tls\.keyFile/))
})
