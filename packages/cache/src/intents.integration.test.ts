import { createDbPool, type DbPool } from '@platform/db-pool'
import { testPostgres, testRedis } from '@platform/stack/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { postgresBus } from './buses/postgres.ts'
import { cachesWith } from './caches.fixture.ts'
import { memory } from './drivers/memory.ts'
import { redis } from './drivers/redis.ts'
import { createCache, invalidationSchema, type Cache } from './index.ts'

let postgres: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool
const cacheWith = cachesWith(() => ({
  namespace: 'intents',
  l1: memory({ maxBytes: 1e6 }),
  bus: postgresBus({ db, heartbeatMs: 200 }),
  ttlMs: 600_000,
}))
const processOn = (namespace: string, sweepIntervalMs = 600_000): Cache => cacheWith({ namespace, intents: { db, sweepIntervalMs } })
const intents = async () => (await db.query<{ keys: string[]; tags: string[] }>('select keys, tags from platform_cache_invalidations')).rows

beforeAll(async () => {
  postgres = await testPostgres()
  db = createDbPool({ url: postgres.url })
})
afterAll(async () => {
  await db.close()
  await postgres.close()
})

describe('invalidateAfterCommit', () => {
  it('invalidates everywhere after the commit, not before, and leaves no intent behind', async () => {
    const [a, b] = [processOn('commit'), processOn('commit')]
    await Promise.all([a.ready(), b.ready()])
    for (const cache of [a, b]) {
      await cache.getOrSet('key', () => 'old')
      await cache.getOrSet('tagged', () => 'old', { tags: ['t'] })
    }
    await db.transaction(async (tx) => {
      a.invalidateAfterCommit(tx, { keys: ['key'], tags: ['t'] })
      await tx.query('select 1')
      expect(await a.get('key')).toBe('old')
      expect(await tx.query('select keys, tags from platform_cache_invalidations')).toMatchObject({
        rows: [{ keys: ['key'], tags: ['t'] }],
      })
    })
    for (const cache of [a, b]) for (const key of ['key', 'tagged']) await expect.poll(() => cache.getOrSet(key, () => 'new')).toBe('new')
    await expect.poll(intents).toEqual([])
  })

  it('a rollback undoes it', async () => {
    const a = processOn('rollback')
    await a.ready()
    await a.set('key', 'old')
    await expect(
      db.transaction(async (tx) => {
        a.invalidateAfterCommit(tx, { keys: ['key'] })
        await tx.query('select 1')
        throw new Error('rolled back')
      }),
    ).rejects.toThrow('rolled back')
    expect(await a.get('key')).toBe('old')
    expect(await intents()).toEqual([])
  })

  it('what a crash after the commit left behind, another process delivers', async () => {
    const b = processOn('crash', 100)
    await b.ready()
    await b.set('key', 'old')
    await b.getOrSet('tagged', () => 'old', { tags: ['t'] })
    const dying = processOn('crash')
    await dying.ready()
    // The hook is never run: the process died between the commit and its end.
    await db.transaction(async (tx) => {
      dying.invalidateAfterCommit(
        { query: (text, values) => tx.query(text, values), afterCommit: () => undefined },
        { keys: ['key'], tags: ['t'] },
      )
      await tx.query('select 1')
    })
    expect(await b.get('key')).toBe('old')
    await db.query("update platform_cache_invalidations set created_at = now() - interval '1 minute'")
    await expect.poll(() => b.get('key')).toBeUndefined()
    await expect.poll(() => b.get('tagged')).toBeUndefined()
    await expect.poll(intents).toEqual([])
  })

  it('what is left behind is delivered soon, though the database was away when the process started and sweeps are rare', async () => {
    let away = true
    let refused = 0
    const later = {
      async query(text: string, values?: readonly unknown[]): Promise<unknown> {
        if (!away) return db.query(text, values)
        refused += 1
        throw new Error('not connected')
      },
    }
    const a = cacheWith({ namespace: 'away', intents: { db: later, sweepIntervalMs: 600_000 } })
    await db.query(invalidationSchema)
    await db.query(
      `insert into platform_cache_invalidations (id, namespace, keys, tags, created_at)
       values (gen_random_uuid(), 'away', '["key"]', '[]', now() - interval '1 minute')`,
    )
    await expect.poll(() => [a.stats().coherence, refused > 0]).toEqual(['coherent', true])
    await a.set('key', 'old')
    expect(await a.get('key')).toBe('old')
    away = false
    await expect.poll(() => a.get('key'), { timeout: 20_000 }).toBeUndefined()
    await expect.poll(intents).toEqual([])
  })

  it('a row that no cache has written costs itself and not the others', async () => {
    const a = processOn('poison', 100)
    await a.ready()
    for (const key of ['before', 'after']) await a.set(key, 'old')
    const row = (key: unknown, age: string) =>
      db.query(
        `insert into platform_cache_invalidations (id, namespace, keys, tags, created_at)
         values (gen_random_uuid(), 'poison', $1::jsonb, '{"not": "a list"}', now() - $2::interval)`,
        [JSON.stringify(key), age],
      )
    await row(['before'], '5 minutes')
    for (const poison of ['no list', 5, null, [null, '', 7, 'x'.repeat(10_000)], [['nested']]]) await row(poison, '4 minutes')
    await row(['after'], '3 minutes')
    await expect.poll(() => a.get('before')).toBeUndefined()
    await expect.poll(() => a.get('after')).toBeUndefined()
    await expect.poll(intents).toEqual([])
  })

  it('an intent that cannot be written fails the transaction', async () => {
    const a = processOn('broken')
    await a.ready()
    await db.query('alter table platform_cache_invalidations rename to hidden')
    const committed = db.transaction(async (tx) => {
      a.invalidateAfterCommit(tx, { keys: ['key'] })
      await tx.query('create table never_there (id int)')
    })
    await expect(committed).rejects.toThrow(/abort|platform_cache_invalidations/)
    expect((await db.query("select to_regclass('never_there') as found")).rows).toEqual([{ found: null }])
    await db.query('alter table hidden rename to platform_cache_invalidations')
  })

  it('a hook that is refused later fails nothing else: the row stays for a sweep', async () => {
    const a = processOn('hook', 100)
    await a.ready()
    await a.set('key', 'old')
    await db.transaction(async (tx) => {
      a.invalidateAfterCommit(
        { query: (text, values) => tx.query(text, values), afterCommit: () => Promise.reject(new Error('too late')) as never },
        { keys: ['key'] },
      )
      await tx.query('select 1')
    })
    await db.query("update platform_cache_invalidations set created_at = now() - interval '1 minute'")
    await expect.poll(() => a.get('key')).toBeUndefined()
  })

  it('refuses what it cannot mean, by name', () => {
    const a = processOn('wrong')
    const tx = { query: () => Promise.resolve(), afterCommit: () => undefined }
    const refused = expect.objectContaining({ code: 'ERR_CACHE_OPTION' }) as Error
    for (const what of [{ key: 'a' }, { keys: 'a' }, undefined] as object[])
      expect(() => a.invalidateAfterCommit(tx, what)).toThrow(refused)
    expect(() => a.invalidateAfterCommit(undefined as never, { keys: ['a'] })).toThrow(refused)
  })

  it('says what is missing: a hook for the commit, a place for the intents', async () => {
    const a = processOn('missing')
    expect(() => a.invalidateAfterCommit({ query: () => Promise.resolve() }, { keys: ['k'] })).toThrow(
      expect.objectContaining({ code: 'ERR_CACHE_NO_AFTER_COMMIT' }),
    )
    const server = await testRedis()
    const options = { namespace: 'missing', l2: redis({ url: server.url }), ttlMs: 60_000 }
    const without = createCache(options)
    const tx = { query: () => Promise.resolve(), afterCommit: () => undefined }
    expect(() => without.invalidateAfterCommit(tx, { keys: ['k'] })).toThrow(expect.objectContaining({ code: 'ERR_CACHE_NO_INTENT_STORE' }))
    await without.close({ timeoutMs: 0 })
    const given = createCache({ ...options, l2: redis({ url: server.url }), intents: { db } })
    await given.ready()
    await given.set('k', 'old')
    await db.transaction(async (open) => given.invalidateAfterCommit(open, { keys: ['k'] }))
    await expect.poll(() => given.get('k')).toBeUndefined()
    await given.close()
    await server.close()
  })

  it('the schema may be applied by a migration, and twice', async () => {
    await db.query(invalidationSchema)
    await db.query(invalidationSchema)
    const [a, b] = [processOn('schema'), processOn('schema')]
    await Promise.all([a.ready(), b.ready()])
    expect(await intents()).toEqual([])
  })
})
