import { testPostgres } from '@platform/stack/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createDbPool, type DbPool } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool

beforeAll(async () => {
  database = await testPostgres()
  db = createDbPool({ url: database.url, maxSize: 1, preparedStatements: 3 })
  await db.query('create table films (id int, title text)')
})
afterAll(async () => {
  await db.close()
  await database.close()
})

const prepared = async () =>
  (await db.query<{ text: string }>('select statement as text from pg_prepared_statements order by prepare_time')).rows.map(
    ({ text }) => text,
  )
const often = async (text: string, values: unknown[] = [1]) => {
  for (let round = 0; round < 6; round++) await db.query(text, values)
}

it('keeps the texts that come often, and lets the least recently used go', async () => {
  await db.query('select $1::int as once', [1])
  for (const name of ['a', 'b', 'c']) await often(`select $1::int as ${name}`)
  expect(await prepared()).toEqual(['select $1::int as a', 'select $1::int as b', 'select $1::int as c'])
  await db.query('select $1::int as a', [1])
  await often('select $1::int as d')
  expect((await prepared()).toSorted()).toEqual(['select $1::int as a', 'select $1::int as c', 'select $1::int as d'])
})

it('prepares anew after DDL and when somebody removed it, in a transaction from the next one on', async () => {
  const text = 'select * from films where id = $1'
  await db.query("insert into films values (1, 'Stalker')")
  await often(text)
  await db.query('alter table films add column year int')
  expect((await db.query(text, [1])).rows).toEqual([{ id: 1, title: 'Stalker', year: null }])
  await often(text)
  await db.query("do $$ begin execute 'deallocate all'; end $$")
  expect((await db.query(text, [1])).rowCount).toBe(1)
  await often(text)
  await db.query('alter table films drop column year')
  await expect(db.transaction((tx) => tx.query(text, [1]))).rejects.toMatchObject({ code: '0A000' })
  expect((await db.transaction((tx) => tx.query(text, [1]))).rows).toEqual([{ id: 1, title: 'Stalker' }])
})

it('survives aborts and errors', async () => {
  const text = 'select 1 / $1::int, pg_sleep($2)'
  for (let round = 0; round < 20; round++) {
    await expect(db.query(text, [0, 0])).rejects.toMatchObject({ code: '22012' })
    const controller = new AbortController()
    const call = db.query(text, [1, 60], { signal: controller.signal }).catch(() => 'aborted')
    setTimeout(() => controller.abort(), 1)
    expect(await call).toBe('aborted')
  }
  expect((await db.query(text, [1, 0])).rowCount).toBe(1)
})
