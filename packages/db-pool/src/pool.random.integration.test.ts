import { testPostgres } from '@platform/stack/testing'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createDbPool, type DbPool, toPgPool } from './index.ts'

let database: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool

beforeAll(async () => {
  database = await testPostgres()
  db = createDbPool({ url: database.url, maxSize: 3, acquireTimeoutMs: 60_000 })
  await db.query('create table effects (id int primary key)')
})
afterAll(async () => {
  await db.close({ timeoutMs: 1_000 })
  await database.close()
})

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

it('whatever borrowers do, each gets its own answers on a clean connection, and what resolved is in the database', async () => {
  const seed = Number(process.env['PLATFORM_TEST_SEED'] ?? Date.now() % 2 ** 31)
  console.log(`PLATFORM_TEST_SEED=${seed}`)
  const random = randomFrom(seed)
  const orm = toPgPool(db)
  const reason = new Error('aborted by the test')
  const aborting = (): AbortSignal => {
    const controller = new AbortController()
    const delayMs = random() * 4
    if (delayMs < 0.5) controller.abort(reason)
    else setTimeout(() => controller.abort(reason), delayMs)
    return controller.signal
  }
  const expected = { there: new Set<number>(), gone: new Set<number>() }
  let nextId = 0
  const clean = `select current_setting('search_path') <> 'dirt' and current_setting('transaction_isolation') = 'read committed'
    and (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) = 0 and $1::int > 0 as clean, $1::int as echo`

  const kinds: (() => Promise<void>)[] = [
    async function asks() {
      const id = ++nextId
      expect((await db.query(clean, [id])).rows).toEqual([{ clean: true, echo: id }])
    },
    async function asksAndLeaves() {
      await db.query('select pg_sleep($1)', [random() * 0.004], { signal: aborting() })
    },
    async function errs() {
      await expect(db.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' })
    },
    async function leavesDirt() {
      await db.withConnection(async (connection) => {
        await connection.query(`set search_path to dirt; select pg_advisory_lock(${nextId})`)
        if (random() < 0.5) await connection.query('begin isolation level serializable')
        if (random() < 0.3) void connection.query('select pg_sleep(0.001)').catch(() => {})
        if (random() < 0.3) throw reason
      })
    },
    async function transacts() {
      const id = ++nextId
      const signal = random() < 0.5 ? aborting() : undefined
      const fails = random() < 0.3
      let committed = false
      try {
        await db.transaction(
          async (tx) => {
            tx.afterCommit(() => {
              committed = true
            })
            await tx.query('insert into effects values ($1)', [id])
            if (random() < 0.3) await tx.transaction((savepoint) => savepoint.query('select 1 / 0')).catch(() => {})
            if (fails) throw new Error('mine')
          },
          { signal },
        )
        expect(committed).toBe(true)
        expected.there.add(id)
      } catch (error) {
        // An abort may come during COMMIT: then both are right.
        if (error !== reason) expected.gone.add(id)
        if (error !== reason && !fails) throw error
      }
    },
    async function borrowsAsAnOrm() {
      const client = await orm.connect()
      const id = ++nextId
      await client.query('begin')
      await client.query('insert into effects values ($1)', [id])
      if (random() < 0.5) {
        await client.query('commit')
        expected.there.add(id)
      } else expected.gone.add(id)
      client.release()
    },
  ]
  await Promise.all(
    Array.from({ length: 24 }, async () => {
      for (let round = 0; round < 60; round++) {
        const kind = kinds[Math.floor(random() * kinds.length)] as () => Promise<void>
        try {
          await kind()
        } catch (error) {
          if (error !== reason) throw error
        }
      }
    }),
  )
  await vi.waitFor(() => expect(db.stats()).toMatchObject({ inUse: 0, waiting: 0 }), { timeout: 20_000 })
  expect(db.stats().open).toBeLessThanOrEqual(3)
  const { rows } = await db.query<{ id: number }>('select id from effects')
  const there = new Set(rows.map(({ id }) => id))
  expect([...expected.there].filter((id) => !there.has(id))).toEqual([])
  expect([...expected.gone].filter((id) => there.has(id))).toEqual([])
  expect(expected.there.size).toBeGreaterThan(50)
})
