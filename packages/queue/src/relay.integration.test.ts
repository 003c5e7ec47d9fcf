import { randomUUID } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { QueueError, type Broker, type Database } from './index.ts'
import { placed, silent, testStore } from './outboxes.fixture.ts'
import { claimMs, ensureOutboxTable } from './outbox-table.ts'
import { relayBatch } from './relay.ts'

const store = testStore()

afterEach(() => void vi.useRealTimers())

async function add(): Promise<void> {
  await ensureOutboxTable(store.db)
  const { destination, ...rest } = await store.broker.prepare(placed, { film: 'a', n: 1 })
  const message = JSON.stringify({ destination, ...rest })
  await store.db.query("insert into platform_outbox (row_id, destination, key, message) values (gen_random_uuid(), $1, 'a', $2)", [
    destination,
    message,
  ])
}

/** A relay whose broker has been asked and does not answer; what its database hears from then on goes through `renewal` first. */
async function atWork(ordered: boolean, renewal: () => Promise<void>) {
  const asked = Promise.withResolvers<void>()
  const told: string[] = []
  let isAsked = false
  const db: Database = {
    async query(text, values) {
      if (isAsked) {
        told.push('renewal')
        await renewal()
        told.push('renewed')
      }
      return store.db.query(text, values)
    },
    transaction: (work) => (told.push('settled'), store.db.transaction(work)),
  }
  const end = new AbortController()
  const relaying = relayBatch(db, silent(store, asked.resolve), randomUUID(), { ordered, batchSize: 10 }, end.signal)
  await asked.promise
  isAsked = true
  return { relaying, told, end }
}

describe.each([false, true])('the claim of a relay (ordered: %s)', (ordered) => {
  it('is given up when a renewal that is under way has ended, of which there is one at a time', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    await add()
    const slow = Promise.withResolvers<void>()
    const { relaying, told, end } = await atWork(ordered, () => slow.promise)
    await vi.advanceTimersByTimeAsync(claimMs)
    end.abort()
    await nextTurn()
    slow.resolve()
    await relaying
    expect(told).toEqual(['renewal', 'renewed', 'settled'])
  })

  it('is lost when it could not be renewed in time, and whoever waits for the broker waits no more', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
    await add()
    const { relaying } = await atWork(ordered, () => Promise.reject(new Error('no database')))
    await vi.advanceTimersByTimeAsync(claimMs)
    expect(await relaying).toMatchObject({ published: 0, failures: [] })
  })
})

it('the turn of an ordered relay is lost when another one has it', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  await add()
  const { relaying } = await atWork(true, async () => {
    await store.db.query("update platform_outbox_owner set owner = gen_random_uuid(), owned_until = now() + interval '1 hour'")
  })
  await vi.advanceTimersByTimeAsync(claimMs / 5)
  expect(await relaying).toMatchObject({ published: 0, failures: [] })
})

it('a row that failed stays with another relay that has claimed it since', async () => {
  await add()
  const send = async (): Promise<never> => {
    await store.db.query("update platform_outbox set claimed_by = gen_random_uuid(), claimed_until = now() + interval '1 hour'")
    throw new QueueError('ERR_QUEUE_INDETERMINATE')
  }
  const broker = { send } as unknown as Broker
  await relayBatch(store.db, broker, randomUUID(), { ordered: false, batchSize: 10 }, new AbortController().signal)
  const { rows } = await store.db.query('select attempts, claimed_until > now() as claimed from platform_outbox')
  expect(rows).toEqual([{ attempts: 1, claimed: true }])
})
