/** A gateway on a real nginx, with services that say what reached them. */
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Discovery, Instance } from '@platform/discovery'
import { findNginx, freePort } from '@platform/stack'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { createGateway, type Gateway, type GatewayOptions } from './index.ts'

export interface Seen {
  service: string
  instance: number
  method: string
  url: string
  headers: IncomingHttpHeaders
}

/** Answers with what it was asked. */
export interface EchoService extends AsyncDisposable {
  readonly server: Server
  readonly port: number
  readonly seen: Seen[]
}

export async function echoService(service: string, instance: number = 1, port: number = 0): Promise<EchoService> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    seen.push({ service, instance, method, url, headers })
    request.resume()
    request.once('end', () => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ service, instance, method, url, headers }))
    })
  })
  server.keepAliveTimeout = 60_000
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    server.closeAllConnections()
    server.close()
  }
  return { server, port: (server.address() as AddressInfo).port, seen, [Symbol.asyncDispose]: close }
}

/** A registry whose sets a test says. */
export interface SettableDiscovery extends Pick<Discovery, 'watch'> {
  say(service: string, ports: readonly number[]): void
}

export function settableDiscovery(sets: Record<string, readonly number[]> = {}): SettableDiscovery {
  const listeners = new Map<string, Set<(instances: readonly Instance[]) => void>>()
  const current = new Map(Object.entries(sets))
  const instances = (service: string): Instance[] =>
    (current.get(service) ?? []).map((port) => ({ id: `${service}-${port}`, service, address: '127.0.0.1', port }))
  return {
    watch(service, onChange) {
      const all = listeners.get(service) ?? new Set()
      listeners.set(service, all)
      all.add(onChange)
      if (current.has(service)) queueMicrotask(() => onChange(instances(service)))
      return () => all.delete(onChange)
    },
    say(service, ports) {
      current.set(service, ports)
      for (const each of listeners.get(service) ?? []) each(instances(service))
    },
  }
}

/** Signs tokens; its key set can be changed, and it can be away. */
export interface Issuer extends AsyncDisposable {
  readonly url: string
  /** How often its keys were asked for. */
  readonly fetches: number
  answer: (keys: unknown) => { status: number; body: string }
  sign(
    claims?: Record<string, unknown>,
    options?: { issuer?: string; audience?: string; expires?: string | number; kid?: string },
  ): Promise<string>
  rotate(): Promise<void>
  keys(): unknown
}

export async function identityIssuer(): Promise<Issuer> {
  let serial = 1
  let pair = await generateKeyPair('ES256')
  let fetches = 0
  const publicKeys = async () => ({ keys: [{ ...(await exportJWK(pair.publicKey)), kid: `key-${serial}`, alg: 'ES256', use: 'sig' }] })
  let keys = await publicKeys()
  const server = createServer((_request, response) => {
    fetches++
    const { status, body } = issuer.answer(keys)
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const issuer: Issuer = {
    url,
    get fetches() {
      return fetches
    },
    answer: (current) => ({ status: 200, body: JSON.stringify(current) }),
    sign(claims = {}, { issuer: iss = url, audience = 'film-store', expires = '5m', kid = `key-${serial}` } = {}) {
      return new SignJWT({ sub: 'customer-1', scope: 'orders:write', ...claims })
        .setProtectedHeader({ alg: 'ES256', kid })
        .setIssuer(iss)
        .setAudience(audience)
        .setIssuedAt()
        .setExpirationTime(expires)
        .sign(pair.privateKey)
    },
    async rotate() {
      serial++
      pair = await generateKeyPair('ES256')
      keys = await publicKeys()
    },
    keys: () => keys,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
  return issuer
}

export interface Run extends AsyncDisposable {
  readonly gateway: Gateway
  readonly url: string
  readonly port: number
  readonly folder: string
  readonly lines: { level: string; fields: Record<string, unknown>; message: string }[]
  /** Puts another text into the file of routes. */
  write(text: string): void
}

const machines = '/usr/sbin/nginx'

/** Found once. `older` is the machine's own, if it has one. */
export const nginxPrograms: { newest: string; older: string } = await (async () => {
  const { program } = await findNginx()
  return { newest: program, older: existsSync(machines) ? machines : program }
})()

/** `{{listen}}` in the text is the port. */
export async function runGateway(
  text: string,
  options: Omit<Partial<GatewayOptions>, 'file' | 'folder'> & Pick<GatewayOptions, 'discovery'>,
): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-gateway-'))
  chmodSync(folder, 0o755)
  const port = await freePort()
  const file = join(folder, 'gateway.yaml')
  const write = (next: string) => writeFileSync(file, next.replaceAll('{{listen}}', `{ port: ${port}, address: 127.0.0.1 }`))
  write(text)
  const lines: Run['lines'] = []
  const note = (level: string) => (fields: object, message?: string) =>
    void lines.push({ level, fields: { ...fields }, message: message ?? '' })
  const logger = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') }
  const gateway = createGateway({ file, folder: join(folder, 'run'), nginx: nginxPrograms.newest, workers: 1, logger, ...options })
  const end = async () => {
    await gateway.close({ timeoutMs: 500 })
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await gateway.ready()
  } catch (error) {
    await end()
    throw error
  }
  return { gateway, url: `http://127.0.0.1:${port}`, port, folder: join(folder, 'run'), lines, write, [Symbol.asyncDispose]: end }
}

/** The request line and headers as they are; resolves with status, headers and body as text. */
export async function rawRequest(port: number, text: string): Promise<{ status: number; text: string }> {
  const socket = connect(port, '127.0.0.1')
  socket.setEncoding('latin1')
  socket.write(text, 'latin1')
  let answer = ''
  for await (const piece of socket) answer += piece as string
  return { status: Number(/^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1] ?? 0), text: answer }
}
