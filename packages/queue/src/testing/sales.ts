import { vi } from 'vitest'
import type { Broker } from '../broker.ts'
import type { Consumer } from '../consumer.ts'
import { createInbox } from '../inbox.ts'
import type { Database } from '../shapes.ts'
import { rowsOf } from '../database.ts'
import { sold } from './sold.ts'

/** What a film shop does: every sale is one row, whatever happens on the way. */
export async function consumeSales(broker: Broker, db: Database, ordered: boolean): Promise<Consumer> {
  const inbox = createInbox({ db })
  await vi.waitFor(() => db.query('create table if not exists sales (film text, n integer, id text, at bigserial)'), { timeout: 20_000 })
  return broker.consume(
    sold,
    async ({ id, body }, { tx }) => void (await tx.query('insert into sales (film, n, id) values ($1, $2, $3)', [body.film, body.n, id])),
    {
      group: ordered ? 'sales-in-order' : 'sales',
      concurrency: 8,
      ordered,
      inbox,
      retry: { maxAttempts: 100, initialDelayMs: 50, maxDelayMs: 500 },
    },
  )
}

/** Numbers sold, in the order of the books. */
export async function soldNumbers(db: Database): Promise<{ film: string; n: number }[]> {
  return rowsOf(await db.query('select film, n from sales order by at'))
}

/** Films whose sales are not in the order in which they were published. */
export function outOfOrder(books: readonly { film: string; n: number }[]): string[] {
  const last = new Map<string, number>()
  const wrong = new Set<string>()
  for (const { film, n } of books) {
    if (n < (last.get(film) ?? -1)) wrong.add(film)
    last.set(film, n)
  }
  return [...wrong]
}
