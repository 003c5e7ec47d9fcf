/** What `questions/gateway.ts` measures: Redis, a key server, services, a plain nginx, the gateway and the customers, each a process of its own. */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findNginx, freePort, startRedis } from '@platform/stack'
import { Redis } from 'ioredis'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'
import type { Load, Told } from './gateway-load.ts'
import { startHaproxy } from './gateway-peer-haproxy.ts'

export const parts = ['nginx', 'control plane', 'Redis', 'peer'] as const
export type Part = (typeof parts)[number]

export interface Stage extends AsyncDisposable {
  readonly versions: Readonly<Record<string, string>>
  /** Of a peer that is not here: none. */
  readonly urls: Readonly<Record<'service' | 'plain' | 'gateway' | 'fastify', string> & { haproxy: string | undefined }>
  /** Tokens that no verifier has seen. */
  sign(count: number): Promise<string[]>
  load(each: Load): Promise<Told>
  /** Microseconds of processor time so far; both of nginx's together. */
  cpuUs(): Promise<Record<Part, number>>
  /** Makes the instances of these numbers the set. */
  say(numbers: readonly number[]): Promise<void>
  /** Number of the instance that answers a public request now. */
  answering(): Promise<number>
  /** Puts so many routes more into the file and makes it the one in force. */
  apply(more: number): Promise<void>
}

export const instances = 3

export async function openStage(): Promise<Stage> {
  await using opened = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
  chmodSync(folder, 0o755)
  opened.defer(() => rmSync(folder, { recursive: true, force: true }))
  const nginx = await findNginx()
  const redis = opened.use(await startRedis({ fresh: true }))
  const info = new Redis(redis.url)
  opened.defer(() => info.disconnect())
  const issuer = opened.use(await openIssuer())
  const start = async <T>(name: string, args: readonly string[] = []) => {
    const child = fork(join(import.meta.dirname, name), args, { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    opened.defer(async () => {
      if (child.connected) child.disconnect()
      if (child.exitCode === null) await once(child, 'exit')
    })
    return { child, told: await told<T>(child) }
  }
  const services: { port: number; pid: number }[] = []
  for (let number = 0; number < instances; number++) {
    const { child, told: service } = await start<{ port: number }>('gateway-service.ts')
    services.push({ port: service.port, pid: child.pid! })
  }
  const { child: customers } = await start('gateway-load.ts')
  const { child: fastify, told: fastifyTold } = await start<{ port: number }>('gateway-peer-fastify.ts', [
    `http://127.0.0.1:${services[0]!.port}`,
    issuer.url,
    redis.url,
  ])
  const haproxy = await startHaproxy(folder, services[0]!.port, issuer.publicKey)
  if (haproxy !== undefined) opened.use(haproxy)
  const peers = [fastify.pid!, ...(haproxy === undefined ? [] : [haproxy.pid])]
  const plain = opened.use(await startPlainNginx(nginx.program, folder, services[0]!.port))
  const door = { port: await freePort(), file: join(folder, 'gateway.yaml'), folder: join(folder, 'run') }
  writeFileSync(door.file, routes(door.port, issuer.url))
  const { child: control } = await start('gateway.ts', [door.file, door.folder, nginx.program, redis.url, String(services[0]!.port)])
  const send = async (message: object) => {
    control.send(message)
    await told(control)
  }
  const urls = {
    service: `http://127.0.0.1:${services[0]!.port}`,
    plain: `http://127.0.0.1:${plain.port}`,
    gateway: `http://127.0.0.1:${door.port}`,
    fastify: `http://127.0.0.1:${fastifyTold.port}`,
    haproxy: haproxy === undefined ? undefined : `http://127.0.0.1:${haproxy.port}`,
  }

  const owned = opened.move()
  return {
    versions: { node: process.versions.node, nginx: nginx.version, redis: redis.version },
    urls,
    sign: issuer.sign,
    load(each) {
      customers.send(each)
      return told<Told>(customers)
    },
    async cpuUs() {
      const master = Number(readFileSync(join(door.folder, 'nginx.pid'), 'utf8'))
      const told = await info.info('cpu')
      const ofRedis = [...told.matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)].reduce((sum, [, seconds]) => sum + Number(seconds), 0)
      return {
        nginx: [...childrenOf(plain.pid), ...childrenOf(master)].reduce((sum, pid) => sum + cpuUsOf(pid), 0),
        'control plane': cpuUsOf(control.pid!),
        Redis: ofRedis * 1e6,
        peer: peers.reduce((sum, pid) => sum + cpuUsOf(pid), 0),
      }
    },
    say: (numbers) => send({ say: numbers.map((number) => services[number]!.port) }),
    async answering() {
      const { pid } = (await (await fetch(`${urls.gateway}/films`)).json()) as { pid: number }
      return services.findIndex((service) => service.pid === pid)
    },
    apply(more) {
      const route = (n: number) => ({ name: `r-${n}`, matches: [{ path: { value: `/r/${n}` } }], ...oneOfMany })
      const lines = Array.from({ length: more }, (_, n) => `  - ${JSON.stringify(route(n))}\n`)
      writeFileSync(door.file, routes(door.port, issuer.url) + lines.join(''))
      return send({ apply: true })
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

const oneOfMany = { auth: { jwt: 'customers' }, backendRefs: [{ name: 'films' }] }

const routes = (port: number, issuer: string) => `
listeners: [{ port: ${port}, address: 127.0.0.1 }]
services: { films: {} }
identityProviders:
  customers: { issuer: bench, audience: film-store, jwksUri: '${issuer}/keys', algorithms: [ES256] }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: public, backendRefs: [{ name: films }] }
  - { name: own, matches: [{ path: { value: /own } }], auth: { jwt: customers }, backendRefs: [{ name: films }] }
  - name: limited
    matches: [{ path: { value: /limited } }]
    auth: { jwt: customers }
    backendRefs: [{ name: films }]
    rateLimit: { requests: 1000000, periodMs: 1000, by: consumer }
`

async function openIssuer() {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'bench', alg: 'ES256', use: 'sig' }] })
  const server = createServer((_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(keys))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  let serial = 0
  const signed = () =>
    new SignJWT({ scope: 'orders:write' })
      .setProtectedHeader({ alg: 'ES256', kid: 'bench' })
      .setIssuer('bench')
      .setAudience('film-store')
      .setSubject(`customer-${serial++}`)
      .setExpirationTime('1h')
      .sign(privateKey)
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    publicKey: await exportSPKI(publicKey),
    sign: (count: number) => Promise.all(Array.from({ length: count }, signed)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** What the gateway is compared with: one worker, connections kept, nothing else. */
async function startPlainNginx(program: string, folder: string, to: number) {
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `${each}_temp_path ${folder}/plain-${each};`)
  const file = join(folder, 'plain.conf')
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${folder}/plain.pid; error_log stderr error;
events { worker_connections 900; }
http { access_log off; ${temporary.join(' ')}
  upstream films { server 127.0.0.1:${to}; keepalive 64; }
  server { listen 127.0.0.1:${port};
    location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://films; } } }`,
  )
  const child = spawn(program, ['-p', folder, '-c', file], { stdio: ['ignore', 'ignore', 'inherit'] })
  const isUp = async () => (await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined))?.ok === true
  for (let tries = 0; !(await isUp()); tries++) {
    if (tries > 500) throw new Error('plain nginx does not answer')
    await new Promise((again) => setTimeout(again, 20))
  }
  return {
    port,
    pid: child.pid!,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

async function told<T>(child: ChildProcess): Promise<T> {
  const heard = new AbortController()
  const ended = once(child, 'exit', heard).then(() => {
    throw new Error(`${child.spawnargs.join(' ')} ended`)
  })
  try {
    const [message] = (await Promise.race([once(child, 'message'), ended])) as [T]
    return message
  } finally {
    ended.catch(() => {})
    heard.abort()
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}

/** Of all its threads, in the finest figure that the kernel has. */
function cpuUsOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce(
    (sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1_000,
    0,
  )
}
