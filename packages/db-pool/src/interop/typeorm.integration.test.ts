import 'reflect-metadata'
import { testPostgres } from '@platform/stack/testing'
import { DataSource, EntitySchema } from 'typeorm'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDbPool, type DbPool, fromEntityManager, toTypeOrmDriver } from '../index.ts'

interface Order {
  id?: number
  film: string
}
const orders = new EntitySchema<Order>({
  name: 'orders',
  columns: { id: { type: Number, primary: true, generated: true }, film: { type: String, unique: true } },
})

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool
let source: DataSource

beforeAll(async () => {
  database = await testPostgres()
})
afterAll(() => database.close())
beforeEach(async () => {
  db = createDbPool({ url: database.url, maxSize: 3 })
  source = new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db), entities: [orders], synchronize: true, dropSchema: true })
  await source.initialize()
})
afterEach(async () => {
  if (source.isInitialized) await source.destroy()
  await db.close({ timeoutMs: 1_000 })
})

const films = async () => (await source.getRepository(orders).find({ order: { film: 'asc' } })).map(({ film }) => film)

describe('toTypeOrmDriver', () => {
  it('carries reads, writes, migrations of the schema and transactions', async () => {
    const repository = source.getRepository(orders)
    const saved = await repository.save({ film: 'Stalker' })
    expect(saved.id).toBeTypeOf('number')
    await expect(repository.insert({ film: 'Stalker' })).rejects.toMatchObject({ driverError: { code: '23505' } })
    const failure = new Error('no')
    await expect(
      source.transaction(async (manager) => {
        await manager.save(orders, { film: 'Solaris' })
        throw failure
      }),
    ).rejects.toBe(failure)
    await source.transaction((manager) => manager.save(orders, { film: 'Mirror' }))
    expect(await films()).toEqual(['Mirror', 'Stalker'])
    expect(db.stats()).toMatchObject({ inUse: 0, waiting: 0 })
  })

  it('serves 50 saves at once on 3 connections, and 10 % unique violations open no more', async () => {
    const repository = source.getRepository(orders)
    await Promise.all(Array.from({ length: 50 }, (_, n) => repository.save({ film: `film ${n}` })))
    expect(await repository.count()).toBe(50)
    const pids = async () =>
      (await db.query<{ pid: number }>('select pid from pg_stat_activity where datname = current_database() order by 1')).rows
    const before = await pids()
    const results = await Promise.allSettled(
      Array.from({ length: 100 }, (_, n) => repository.insert({ film: n % 10 === 0 ? 'film 0' : `more ${n}` })),
    )
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(10)
    expect(await pids()).toEqual(before)
  })

  it('takes back what a QueryRunner released in the middle of a transaction', async () => {
    const runner = source.createQueryRunner()
    await runner.startTransaction()
    await runner.manager.save(orders, { film: 'Nostalghia' })
    await runner.release()
    expect(await films()).toEqual([])
    expect(db.stats().inUse).toBe(0)
  })

  it('leaves the pool open when the DataSource is destroyed', async () => {
    await source.destroy()
    expect((await db.query('select 1')).rowCount).toBe(1)
  })

  it('refuses a DataSource that also says where to connect', async () => {
    const doubled = new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db), url: database.url })
    await expect(doubled.initialize()).rejects.toMatchObject({ code: 'ERR_DB_POOL_OPTION' })
  })
})

describe('fromEntityManager', () => {
  it('answers in the shape of pg and is bound to the commit', async () => {
    const seen: string[] = []
    await source.transaction(async (manager) => {
      const tx = fromEntityManager(manager)
      expect(await tx.query('insert into orders (film) values ($1) returning film', ['Ivan'])).toEqual({
        rows: [{ film: 'Ivan' }],
        rowCount: 1,
      })
      expect(await tx.query('update orders set film = film')).toMatchObject({ rowCount: 1 })
      tx.afterCommit(() => void seen.push('committed'))
      await manager
        .transaction(async (nested) => {
          fromEntityManager(nested).afterCommit(() => void seen.push('lost savepoint'))
          throw new Error('no')
        })
        .catch(() => {})
      expect(seen).toEqual([])
    })
    expect(seen).toEqual(['committed'])
    await source
      .transaction(async (manager) => {
        fromEntityManager(manager).afterCommit(() => void seen.push('rolled back'))
        throw new Error('no')
      })
      .catch(() => {})
    expect(seen).toEqual(['committed'])
  })

  it('refuses what is no transaction, has ended, or runs on another pool', async () => {
    expect(() => fromEntityManager(source.manager)).toThrow(expect.objectContaining({ code: 'ERR_DB_POOL_TX_ENDED' }))
    const ended = await source.transaction(async (manager) => fromEntityManager(manager))
    await expect(ended.query('select 1')).rejects.toMatchObject({ code: 'ERR_DB_POOL_TX_ENDED' })
    const foreign = new DataSource({ type: 'postgres', url: database.url })
    await foreign.initialize()
    await foreign.transaction(async (manager) => {
      const tx = fromEntityManager(manager)
      expect((await tx.query('select 1 as one')).rows).toEqual([{ one: 1 }])
      expect(() => tx.afterCommit(() => {})).toThrow(expect.objectContaining({ code: 'ERR_DB_POOL_NO_AFTER_COMMIT' }))
    })
    await foreign.destroy()
  })
})
