import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { startPostgres } from './postgres.ts'
import type { Server } from './server.ts'

export interface TestPlace extends AsyncDisposable {
  readonly url: string
  /** Removes what was made; idempotent. */
  close(): Promise<void>
}

/**
 * One server of a kind for this process, unless the environment names one: started by the first test that asks, ended by the supervisor
 * when the process ends. Kept on the global object because test runners load modules once per file.
 */
export function sharedServer(kind: string, start: () => Promise<Server>): Promise<Server> {
  const shared = ((globalThis as Record<symbol, unknown>)[Symbol.for('@platform/stack.shared')] ??= new Map()) as Map<
    string,
    Promise<Server>
  >
  let server = shared.get(kind)
  if (!server) {
    server = start()
    server.catch(() => shared.delete(kind))
    shared.set(kind, server)
  }
  return server
}

/** A name that no other test has, fit for a database, a virtual host or a key. */
export function uniqueName(): string {
  return `test_${randomBytes(8).toString('hex')}`
}

export function place<T extends { url: string }>(facts: T, remove: () => Promise<void>): T & TestPlace {
  let closing: Promise<void> | undefined
  const close = () => (closing ??= remove())
  return { ...facts, close, [Symbol.asyncDispose]: close }
}

/** An empty database of one's own. */
export async function testPostgres(): Promise<TestPlace> {
  const server = await sharedServer('postgres', () => startPostgres())
  const name = uniqueName()
  await administer(server.url, `create database ${name}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  return place({ url: url.href }, () => administer(server.url, `drop database if exists ${name} with (force)`))
}

async function administer(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query(statement)
  } finally {
    await client.end()
  }
}
