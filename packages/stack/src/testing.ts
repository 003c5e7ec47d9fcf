import { randomBytes } from 'node:crypto'
import { backgroundInterval, knownOptions } from '@platform/kernel'
import { startConsul } from './consul.ts'
import { checkUrl } from './endpoint.ts'
import { StackError } from './errors.ts'
import { wrong } from './options.ts'
import { startPostgres } from './postgres.ts'
import { databaseUrl, type PostgresContents, runStatements, templateOf } from './postgres-contents.ts'
import { startRabbitmq } from './rabbitmq.ts'
import { managementRequest, managementUrl, managementVariable } from './rabbitmq-management.ts'
import { startRedis } from './redis.ts'
import { redisCommand } from './redis-wire.ts'
import type { Server } from './server.ts'

export type { PostgresContents } from './postgres-contents.ts'
export { type Pgbouncer, startPgbouncer } from './pgbouncer.ts'

export interface TestPlace extends AsyncDisposable {
  readonly url: string
  /** Removes what was made; idempotent. */
  close(): Promise<void>
}

export interface ConsulPlace extends TestPlace {
  /** Begin every key and every service id or name with it; what begins so is removed. Letters, digits and hyphens, no slash at the end. */
  readonly prefix: string
}

/**
 * One server of a kind for this process, unless the environment names one: started by the first test that asks, ended by the supervisor
 * when the process ends. Kept on the global object because test runners load modules once per file.
 */
function sharedServer(start: () => Promise<Server>): Promise<Server> {
  const shared = ((globalThis as Record<symbol, unknown>)[Symbol.for('@platform/stack.shared')] ??= new Map()) as Map<
    string,
    Promise<Server>
  >
  let server = shared.get(start.name)
  if (!server) {
    server = start()
    server.catch(() => shared.delete(start.name))
    shared.set(start.name, server)
  }
  return server
}

function uniqueName(separator: string): string {
  return `test${separator}${randomBytes(8).toString('hex')}`
}

function place<T extends { url: string }>(facts: T, remove: () => Promise<void>): T & TestPlace {
  let closing: Promise<void> | undefined
  const close = () => (closing ??= remove())
  return { ...facts, close, [Symbol.asyncDispose]: close }
}

export interface PostgresPlace extends TestPlace {
  /** As it was at first, in tens of milliseconds: the database is dropped, with its connections, and copied again. */
  reset(): Promise<void>
}

const postgresContents = ['extensions', 'sql', 'prepare', 'version']

/**
 * A database of one's own: empty, or with contents. These are made once on each server, in a template, of which every database is a copy; they stay
 * there for the next run when the server is one of the environment.
 */
export async function testPostgres(contents: PostgresContents = {}): Promise<PostgresPlace> {
  knownOptions(wrong, '', contents, postgresContents)
  const server = await sharedServer(startPostgres)
  const template = await templateOf(server.url, contents)
  const name = uniqueName('_')
  const create = `create database ${name}${template === undefined ? '' : ` template ${template}`}`
  const drop = `drop database if exists ${name} with (force)`
  await runStatements(server.url, [create])
  const reset = () => runStatements(server.url, [drop, create])
  return { ...place({ url: databaseUrl(server.url, name) }, () => runStatements(server.url, [drop])), reset }
}

const redisDatabases = 64
/** A claim outlives its process by this much. */
const claimMs = 120_000

/**
 * A Redis database number of one's own, empty at first and emptied at the end. Publish/subscribe channels are not separate: name them after
 * something unique. Database 0 keeps the claims; FLUSHALL would lift them.
 */
export async function testRedis(): Promise<TestPlace> {
  const server = await sharedServer(startRedis)
  const token = randomBytes(8).toString('hex')
  const first = Math.floor(Math.random() * (redisDatabases - 1))
  for (let tried = 0; tried < redisDatabases - 1; tried++) {
    const number = 1 + ((first + tried) % (redisDatabases - 1))
    const claim = `platform-stack:claim:${number}`
    if ((await redisCommand(server.url, 'SET', claim, token, 'NX', 'PX', String(claimMs))) !== 'OK') continue
    const url = new URL(server.url)
    url.pathname = `/${number}`
    await redisCommand(url.href, 'FLUSHDB')
    const renewal = backgroundInterval(() => {
      redisCommand(server.url, 'SET', claim, token, 'XX', 'PX', String(claimMs)).catch(() => {})
    }, claimMs / 4)
    return place({ url: url.href }, async () => {
      clearInterval(renewal)
      await redisCommand(url.href, 'FLUSHDB')
      await redisCommand(server.url, 'DEL', claim)
    })
  }
  throw new StackError('ERR_STACK_REFUSED', `all ${redisDatabases - 1} databases of this Redis are taken by other tests`)
}

/** A virtual host of one's own. The server needs its management listener: see `PLATFORM_RABBITMQ_MANAGEMENT_URL`. */
export async function testRabbitmq(): Promise<TestPlace> {
  const server = await sharedServer(startRabbitmq)
  const named = process.env[managementVariable]
  if (named) checkUrl(managementVariable, named, ['http:'])
  const management = named || managementUrl(server.url)
  const name = uniqueName('-')
  const url = new URL(server.url)
  url.pathname = `/${name}`
  await managementRequest(management, 'PUT', `vhosts/${name}`, {})
  await managementRequest(management, 'PUT', `permissions/${name}/${url.username}`, { configure: '.*', write: '.*', read: '.*' })
  return place({ url: url.href }, () => managementRequest(management, 'DELETE', `vhosts/${name}`))
}

/** A prefix of one's own in a shared Consul. */
export async function testConsul(): Promise<ConsulPlace> {
  const { url } = await sharedServer(startConsul)
  const prefix = uniqueName('-')
  const ask = async (path: string, method: string) => {
    const response = await fetch(`${url}/v1/${path}`, { method, signal: AbortSignal.timeout(30_000) }).catch((cause: unknown) => {
      throw new StackError('ERR_STACK_UNREACHABLE', `Consul did not answer ${method} ${path}`, { cause })
    })
    if (!response.ok) throw new StackError('ERR_STACK_REFUSED', `Consul: ${method} ${path} answered ${response.status}`)
    return response.text()
  }
  return place({ url, prefix }, async () => {
    await ask(`kv/${prefix}?recurse`, 'DELETE')
    const services = JSON.parse(await ask('agent/services', 'GET')) as Record<string, { Service: string }>
    for (const [id, { Service }] of Object.entries(services)) {
      if (id.startsWith(prefix) || Service.startsWith(prefix)) await ask(`agent/service/deregister/${encodeURIComponent(id)}`, 'PUT')
    }
  })
}
