import { randomBytes } from 'node:crypto'
import { statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createDbPool, type DbPool } from '@platform/db-pool'
import { testPostgres, testRabbitmq } from '@platform/stack/testing'
import { connect } from 'amqplib'
import pg from 'pg'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig, file, followCredential, secret } from '../index.ts'
import { createRotation, credentialFile, postgresUsers, rabbitmqUsers } from './index.ts'
import { minute, POLL, rejection, testFolder } from './rotations.fixture.ts'

const LONG = 180_000
const folder = testFolder()

const definition = defineConfig({
  schema: z.object({ db: z.object({ user: z.string(), password: secret(z.string()) }).meta({ reload: 'drain' }) }),
})

async function database() {
  const db = await testPostgres()
  const id = randomBytes(4).toString('hex')
  const [a, b, role] = [`app_a_${id}`, `app "b" ${id}`, `app_${id}`]
  const admin = new pg.Client({ connectionString: db.url })
  await admin.connect()
  await admin.query(
    `create role ${role} nologin; create table counts (n int); alter table counts owner to ${role}; insert into counts values (0)`,
  )
  onTestFinished(async () => {
    for (const name of [a, b, role]) await admin.query(`drop owned by "${name.replaceAll('"', '""')}"`).catch(() => {})
    for (const name of [a, b, role]) await admin.query(`drop role if exists "${name.replaceAll('"', '""')}"`).catch(() => {})
    await admin.end()
    await db.close()
  })
  return { url: db.url, admin, users: [a, b] as const, role }
}

/** As an instance does it: a pool for each credential, the old one drained. */
async function instance(url: string, source: ReturnType<typeof file>) {
  const config = await definition.load({ sources: [source], watch: true })
  const open = async ({ user, password }: (typeof config.current)['db'], signal?: AbortSignal): Promise<DbPool> => {
    const target = new URL(url)
    target.username = encodeURIComponent(user)
    const pool = createDbPool({ url: target.href, password, maxSize: 4 })
    await pool.ready!({ ...(signal && { signal }) }).catch(async (error: unknown) => {
      await pool.close()
      throw error
    })
    return pool
  }
  const state = { config, pool: await open(config.current.db), draining: [] as Promise<void>[] }
  followCredential(
    config.live((current) => current.db),
    {
      open: (next, { signal }) => open(next, signal),
      use(pool) {
        const old = state.pool
        // Who waits for a connection of the old pool is served before it closes.
        const leadOut = async () => {
          await old.drain!({ signal: AbortSignal.timeout(10_000) }).catch(() => {})
          await old.close()
        }
        state.draining.push(leadOut())
        state.pool = pool
      },
      discard: (pool) => pool.close(),
    },
  )
  onTestFinished(async () => {
    await config.close()
    await Promise.all([state.pool.close(), ...state.draining])
  })
  return state
}

describe('users of PostgreSQL take turns', () => {
  it(
    'with no failed transaction over 20 rotations under load, in two instances',
    async () => {
      const { url, users, role, admin } = await database()
      const path = join(folder.path, 'credential.json')
      const store = credentialFile(path, { username: 'db.user', password: 'db.password' })
      const rotation = createRotation({ target: postgresUsers({ adminUrl: url, users, role }), store, minimumAgeMs: 0 })
      expect(await rotation.run()).toEqual({ username: users[0], previous: undefined })
      expect(statSync(path).mode & 0o007).toBe(0)
      const instances = [await instance(url, file(path)), await instance(url, file(path))]

      let stop = false
      let done = 0
      const failures: unknown[] = []
      const customers = instances.flatMap((each) =>
        Array.from({ length: 4 }, async () => {
          while (!stop) {
            try {
              await each.pool.transaction(async (tx) => {
                await tx.query('select pg_sleep(0.002)')
                await tx.query('select n from counts')
              })
              done++
            } catch (error) {
              failures.push(error)
            }
          }
        }),
      )
      for (let turn = 1; turn <= 20; turn++) {
        const { username } = await rotation.run()
        expect(username).toBe(users[turn % 2])
        for (const each of instances) await vi.waitFor(() => expect(each.config.current.db.user).toBe(username), POLL)
      }
      stop = true
      await Promise.all(customers)
      expect(failures).toEqual([])
      expect(done).toBeGreaterThan(100)
      const { rows } = await admin.query('select rolpassword from pg_authid where rolname = any($1)', [users])
      expect(rows).toHaveLength(2)
      for (const { rolpassword } of rows as { rolpassword: string }[]) expect(rolpassword).toMatch(/^SCRAM-SHA-256\$4096:/)
      const whoami = await instances[0]!.pool.query<{ current_user: string }>('select current_user')
      expect(whoami.rows[0]?.current_user, 'both act as one').toBe(role)
    },
    LONG,
  )

  it('a credential that does not work is not switched to: instances keep theirs and follow the next one', async () => {
    const { url, users, role } = await database()
    const path = join(folder.path, 'credential.json')
    const store = credentialFile(path, { username: 'db.user', password: 'db.password' })
    const rotation = createRotation({ target: postgresUsers({ adminUrl: url, users, role }), store, minimumAgeMs: 0 })
    await rotation.run()
    const each = await instance(url, file(path))
    const outcomes: string[] = []
    each.config.onReload(({ outcome }) => outcomes.push(outcome))
    writeFileSync(path, JSON.stringify({ db: { user: users[1], password: 'not its password' } }))
    await vi.waitFor(() => expect(outcomes).toEqual(['vetoed']), POLL)
    expect(each.config.current.db.user).toBe(users[0])
    expect((await each.pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await rotation.run()
    await vi.waitFor(() => expect(outcomes.at(-1)).toBe('applied'), POLL)
    expect((await each.pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  })

  it('one rotation at a time, and not before everyone can have followed the last', async () => {
    const { url, users, admin } = await database()
    const path = join(folder.path, 'credential.json')
    const target = postgresUsers({ adminUrl: url, users })
    const rotation = createRotation({ target, store: credentialFile(path), minimumAgeMs: minute })
    await rotation.run()
    expect(await rejection(rotation.run())).toMatchObject({
      code: 'ERR_CONFIG_ROTATION',
      message: expect.stringContaining('of at least') as string,
    })
    const old = Date.now() / 1000 - 120
    utimesSync(path, old, old)
    const name = `platform-config rotation ${users.toSorted().join(' ')}`
    await admin.query('select pg_advisory_lock(hashtextextended($1, 0))', [name])
    expect(await rejection(rotation.run())).toMatchObject({ message: expect.stringContaining('another rotation') as string })
    await admin.query('select pg_advisory_unlock_all()')
    expect((await rotation.run()).username).toBe(users[1])
  })
})

describe('users of RabbitMQ take turns', () => {
  it(
    'with no unconfirmed message over 5 rotations',
    async () => {
      const place = await testRabbitmq()
      const id = randomBytes(4).toString('hex')
      const users = [`app-a-${id}`, `app-b-${id}`] as const
      const broker = new URL(place.url)
      const managementUrl =
        process.env['PLATFORM_RABBITMQ_MANAGEMENT_URL'] ||
        `http://${broker.username}:${broker.password}@${broker.hostname}:${Number(broker.port || 5672) + 10_000}`
      onTestFinished(async () => {
        const management = new URL(managementUrl)
        const authorization = `Basic ${btoa(`${management.username}:${management.password}`)}`
        for (const user of users) await fetch(`${management.origin}/api/users/${user}`, { method: 'DELETE', headers: { authorization } })
        await place.close()
      })
      const path = join(folder.path, 'credential.json')
      const store = credentialFile(path, { username: 'db.user', password: 'db.password' })
      const target = rabbitmqUsers({ managementUrl, url: place.url, users })
      const rotation = createRotation({ target, store, minimumAgeMs: 0 })
      // Of those that come at the same time one rotates; the others say so, and nothing stays locked.
      const together = await Promise.allSettled([1, 2, 3].map(() => rotation.run()))
      expect(together.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      expect(together.flatMap((one) => (one.status === 'rejected' ? [(one.reason as { code: string }).code] : []))).toEqual([
        'ERR_CONFIG_ROTATION',
        'ERR_CONFIG_ROTATION',
      ])
      const config = await definition.load({ sources: [file(path)], watch: true })
      const open = async ({ user, password }: (typeof config.current)['db']) => {
        const url = new URL(place.url)
        url.username = encodeURIComponent(user)
        url.password = encodeURIComponent(password.reveal())
        const connection = await connect(url.href)
        connection.on('error', () => {})
        const channel = await connection.createConfirmChannel()
        await channel.assertQueue('work')
        let pending = Promise.resolve()
        return {
          publish() {
            channel.sendToQueue('work', Buffer.from('x'))
            return (pending = channel.waitForConfirms())
          },
          async close() {
            await pending.catch(() => {})
            await connection.close()
          },
        }
      }
      let current = await open(config.current.db)
      const draining: Promise<void>[] = []
      followCredential(
        config.live((all) => all.db),
        {
          open,
          use(opened) {
            draining.push(current.close())
            current = opened
          },
          discard: (opened) => opened.close(),
        },
      )
      let stop = false
      let confirmed = 0
      const failures: unknown[] = []
      const publishing = (async () => {
        while (!stop)
          await current.publish().then(
            () => confirmed++,
            (error: unknown) => failures.push(error),
          )
      })()
      for (let turn = 1; turn <= 5; turn++) {
        const { username } = await rotation.run()
        await vi.waitFor(() => expect(config.current.db.user).toBe(username), POLL)
      }
      stop = true
      await publishing
      await config.close()
      await Promise.all([current.close(), ...draining])
      expect(failures).toEqual([])
      expect(confirmed).toBeGreaterThan(10)
    },
    LONG,
  )
})
