import { createDbPool, type DbPool } from '@platform/db-pool'
import { testPostgres } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import { z } from 'zod'
import { memory } from './drivers/memory.ts'
import { createBroker, defineMessage, QueueError, type Broker, type Message, type OutgoingMessage } from './index.ts'

interface Placed {
  film: string
  n: number
}

export const placed: Message<Placed, Placed> = defineMessage('orders.placed', {
  version: 1,
  schema: z.object({ film: z.string(), n: z.number() }),
  key: ({ film }) => film,
})

export const patience: { timeout: number; interval: number } = { timeout: 20_000, interval: 10 }

export interface TestStore {
  readonly url: string
  readonly db: DbPool
  readonly broker: Broker
}

/** A database with a table of effects for a test file, and a broker in memory for each test. */
export function testStore(): TestStore {
  let place: Awaited<ReturnType<typeof testPostgres>>
  let db: DbPool
  let broker: Broker
  beforeAll(async () => {
    place = await testPostgres()
    db = createDbPool({ url: place.url, maxSize: 10 })
    await db.query('create table effects (film text, n integer)')
  })
  beforeEach(() => {
    broker = createBroker({ driver: memory(), service: 'test' })
  })
  afterEach(async () => {
    await broker.close()
    await db.query('truncate effects')
    await db.query('drop table if exists platform_outbox, platform_outbox_owner, platform_inbox')
  })
  afterAll(async () => {
    await db?.close()
    await place?.close()
  })
  return {
    get url() {
      return place.url
    },
    get db() {
      return db
    },
    get broker() {
      return broker
    },
  }
}

/** What is consumed from now on, in this order. */
export async function collect(store: TestStore): Promise<string[]> {
  const seen: string[] = []
  await store.broker.consume(placed, async ({ body }) => void seen.push(`${body.film}${body.n}`), { group: 'g', concurrency: 1 })
  return seen
}

/** The broker, but publishing fails while `broken` says so. */
export function failing(store: TestStore, broken: (message: OutgoingMessage) => boolean): Broker {
  return new Proxy(store.broker, {
    get(target, name) {
      if (name === 'send') {
        return async (message: OutgoingMessage, options: object) => {
          if (broken(message)) throw new QueueError('ERR_QUEUE_INDETERMINATE')
          await target.send(message, options)
        }
      }
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' ? (member.bind(target) as unknown) : member
    },
  })
}

/** The broker, but publishing never settles, whatever its signal says. */
export function silent(store: TestStore, asked: () => void = () => {}): Broker {
  return new Proxy(store.broker, {
    get(target, name) {
      if (name === 'send') return () => (asked(), new Promise(() => {}))
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' ? (member.bind(target) as unknown) : member
    },
  })
}
