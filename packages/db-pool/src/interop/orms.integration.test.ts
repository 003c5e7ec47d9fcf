import 'reflect-metadata'
import { PrismaPg } from '@prisma/adapter-pg'
import { testPostgres } from '@platform/stack/testing'
import { sql as drizzleSql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { Kysely, PostgresDialect, sql as kyselySql } from 'kysely'
import type pg from 'pg'
import { DataSource } from 'typeorm'
import { DataSource as DataSource03 } from 'typeorm-0.3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDbPool, type DbPool, fromEntityManager, toPgPool, toTypeOrmDriver } from '../index.ts'

/** One statement inside a transaction of the mapper, and its rows. */
type Ask = (text: string) => Promise<unknown[]>

interface Mapper {
  transaction<T>(work: (ask: Ask, afterCommit?: (run: () => void) => void) => Promise<T>): Promise<T>
  ask: Ask
  close(): Promise<void>
}

const mappers: Record<string, (db: DbPool) => Promise<Mapper>> = {
  async Drizzle(db) {
    const orm = drizzle(toPgPool(db))
    return {
      ask: async (text) => (await orm.execute(drizzleSql.raw(text))).rows,
      transaction: (work) => orm.transaction((tx) => work(async (text) => (await tx.execute(drizzleSql.raw(text))).rows)),
      close: async () => {},
    }
  },
  async Kysely(db) {
    const orm = new Kysely<object>({ dialect: new PostgresDialect({ pool: toPgPool(db) }) })
    return {
      ask: async (text) => (await kyselySql.raw(text).execute(orm)).rows,
      transaction: (work) => orm.transaction().execute((tx) => work(async (text) => (await kyselySql.raw(text).execute(tx)).rows)),
      close: () => orm.destroy(),
    }
  },
  async 'Prisma adapter-pg'(db) {
    const adapter = await new PrismaPg(toPgPool(db)).connect()
    const rowsOf = ({ columnNames, rows }: { columnNames: string[]; rows: unknown[][] }) =>
      rows.map((row) => Object.fromEntries(columnNames.map((name, index) => [name, row[index]])))
    const query = (sql: string) => ({ sql, args: [], argTypes: [] })
    return {
      ask: async (text) => rowsOf(await adapter.queryRaw(query(text))),
      async transaction(work) {
        // As Prisma's client drives it: begin and commit are its own statements, the adapter keeps the connection.
        const tx = await adapter.startTransaction()
        try {
          const result = await work(async (text) => rowsOf(await tx.queryRaw(query(text))))
          if (!tx.options.usePhantomQuery) await tx.executeRaw(query('COMMIT'))
          await tx.commit()
          return result
        } catch (error) {
          if (!tx.options.usePhantomQuery) await tx.executeRaw(query('ROLLBACK'))
          await tx.rollback()
          throw error
        }
      },
      close: () => adapter.dispose(),
    }
  },
  async 'TypeORM 1'(db) {
    const source = await new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db) }).initialize()
    return {
      ask: (text) => source.query(text),
      transaction: (work) =>
        source.transaction((manager) => {
          const tx = fromEntityManager(manager)
          return work(async (text) => (await tx.query(text)).rows, tx.afterCommit)
        }),
      close: () => source.destroy(),
    }
  },
  async 'TypeORM 0.3'(db) {
    const source = await new DataSource03({ type: 'postgres', driver: toTypeOrmDriver(db) }).initialize()
    return {
      ask: (text) => source.query(text),
      transaction: (work) =>
        source.transaction((manager) => {
          const tx = fromEntityManager(manager)
          return work(async (text) => (await tx.query(text)).rows, tx.afterCommit)
        }),
      close: () => source.destroy(),
    }
  },
}

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool

beforeAll(async () => {
  database = await testPostgres()
})
afterAll(() => database.close())
beforeEach(async () => {
  await using admin = createDbPool({ url: database.url })
  await admin.query('drop table if exists films; create table films (title text primary key)')
})

describe.for(Object.entries(mappers))('%s', ([, open]) => {
  it('keeps a transaction on one connection, commits it, and gives it back', async () => {
    db = createDbPool({ url: database.url, maxSize: 4 })
    const mapper = await open(db)
    const before = db.stats().inUse
    const pids = await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        mapper.transaction(async (ask) => {
          const [first] = (await ask('select pg_backend_pid() as pid')) as { pid: number }[]
          await ask(`insert into films values ('film ${n}')`)
          const [second] = (await ask('select pg_backend_pid() as pid')) as { pid: number }[]
          return first?.pid === second?.pid
        }),
      ),
    )
    expect(pids).toEqual(Array(8).fill(true))
    expect(await mapper.ask('select count(*)::int as n from films')).toEqual([{ n: 8 }])
    expect(db.stats()).toMatchObject({ inUse: before, waiting: 0 })
    await mapper.close()
    await db.query('select 1')
    await db.close()
  })

  it('gives it back after a failure, rolled back, whoever fails', async () => {
    db = createDbPool({ url: database.url, maxSize: 1 })
    const mapper = await open(db)
    const failure = new Error('mine')
    await expect(
      mapper.transaction(async (ask) => {
        await ask("insert into films values ('Stalker')")
        throw failure
      }),
    ).rejects.toBe(failure)
    await expect(mapper.transaction((ask) => ask('select 1 / 0'))).rejects.toBeDefined()
    const [{ pid }] = (await mapper.ask('select pg_backend_pid() as pid')) as [{ pid: number }]
    // Ten violations cost no connection.
    await mapper.ask("insert into films values ('Solaris')")
    for (let round = 0; round < 10; round++) await mapper.ask("insert into films values ('Solaris')").catch(() => {})
    expect(await mapper.ask('select pg_backend_pid() as pid, (select count(*)::int from films) as n')).toEqual([{ pid, n: 1 }])
    await mapper.close()
    await db.close()
  })

  it('gets what the server says in the types that it knows', async () => {
    db = createDbPool({ url: database.url })
    const mapper = await open(db)
    const [row] = (await mapper.ask("select 7 as n, 'Stalker'::text as title, true as good, null::int as nothing")) as [object]
    expect(row).toEqual({ n: 7, title: 'Stalker', good: true, nothing: null })
    await mapper.close()
    await db.close()
  })

  it('leaves nothing in the session for the next', async () => {
    db = createDbPool({ url: database.url, maxSize: 1 })
    const mapper = await open(db)
    await mapper.transaction((ask) => ask("set work_mem to '5MB'"))
    await mapper.ask("select set_config('app.tenant', 'mine', false)")
    expect(await mapper.ask("select current_setting('work_mem') as memory, current_setting('app.tenant', true) as tenant")).toEqual([
      { memory: '4MB', tenant: '' },
    ])
    await mapper.close()
    await db.close()
  })
})

describe('work bound to a commit that a mapper makes', () => {
  it.for(['TypeORM 1', 'TypeORM 0.3'])('is done after it, and only then: %s', async (name) => {
    db = createDbPool({ url: database.url, maxSize: 2 })
    const mapper = await (mappers[name] as (typeof mappers)[string])(db)
    const seen: string[] = []
    await mapper.transaction(async (ask, afterCommit) => {
      await ask("insert into films values ('Stalker')")
      afterCommit?.(() => seen.push('committed'))
    })
    await mapper
      .transaction(async (_ask, afterCommit) => {
        afterCommit?.(() => seen.push('rolled back'))
        throw new Error('no')
      })
      .catch(() => {})
    expect(seen).toEqual(['committed'])
    await mapper.close()
    await db.close()
  })

  it('follows savepoints of any name', async () => {
    db = createDbPool({ url: database.url, maxSize: 1 })
    const client = (await toPgPool(db).connect()) as pg.PoolClient & { afterCommit(run: () => void): void }
    const seen: string[] = []
    await client.query('begin')
    client.afterCommit(() => seen.push('outer'))
    await client.query('savepoint "Any ""Name"""; savepoint Folded')
    client.afterCommit(() => seen.push('inner'))
    await client.query('/* back */ rollback to savepoint FOLDED')
    await client.query('release "Any ""Name"""')
    await client.query('commit and chain')
    client.afterCommit(() => seen.push('of a chain'))
    await client.query('rollback and chain')
    await client.query('commit')
    client.release()
    expect(seen).toEqual(['outer'])
    await db.close()
  })
})

it.for(['cancel query', 'kill session'] as const)('Kysely ends what its signal aborts: %s', async (inflightQueryAbortStrategy) => {
  await using db = createDbPool({ url: database.url, maxSize: 1, applicationName: 'kysely aborts' })
  const orm = new Kysely<object>({ dialect: new PostgresDialect({ pool: toPgPool(db) }) })
  const controller = new AbortController()
  const running = kyselySql`select pg_sleep(600)`.execute(orm, { signal: controller.signal, inflightQueryAbortStrategy })
  const aborted = running.catch((error: unknown) => error)
  await expect.poll(() => db.stats().inUse, { timeout: 20_000 }).toBe(1)
  controller.abort(new Error('gone'))
  expect(await aborted).toMatchObject({ message: 'gone' })
  // Its only connection serves the next one.
  expect((await kyselySql<{ n: number }>`select 1 as n`.execute(orm)).rows).toEqual([{ n: 1 }])
  await orm.destroy()
})
