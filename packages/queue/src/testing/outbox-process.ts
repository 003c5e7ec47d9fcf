/** A process that sells films through an outbox, prints each sale that is committed, and then only publishes: killed by the chaos test. */
import pg from 'pg'
import { createBroker } from '../broker.ts'
import { postgres } from '../drivers/postgres.ts'
import { createOutbox } from '../outbox.ts'
import type { Database } from '../shapes.ts'
import { sold } from './sold.ts'

const [url, first, count, ordered] = process.argv.slice(2) as [string, string, string, string]
const pool = new pg.Pool({ connectionString: url, max: 5 })
const db: Database = {
  query: (text, values) => pool.query(text, values as unknown[]),
  async transaction(work) {
    const client = await pool.connect()
    try {
      await client.query('begin')
      const result = await work({ query: (text, values) => client.query(text, values as unknown[]) })
      await client.query('commit')
      return result
    } catch (error) {
      await client.query('rollback')
      throw error
    } finally {
      client.release()
    }
  },
}
const broker = createBroker({ driver: postgres({ url }), service: 'seller' })
const outbox = createOutbox({ db, broker, ordered: ordered === 'true', pollIntervalMs: 50 })
await outbox.ready()
for (let n = Number(first); n < Number(first) + Number(count); n += 1) {
  await db.transaction((tx) => outbox.add(tx, sold, { film: `film-${n % 5}`, n }, { id: `sale-${n}` }))
  process.stdout.write(`${n}\n`)
}
