import { orderFulfilled, orderRejected, stockChanged } from '@film-store/film-contracts'
import type { Outbox, TransactionLike } from '@platform/queue'

export interface PlacedOrder {
  readonly orderId: string
  readonly filmId: number
  readonly quantity: number
}

/**
 * Takes the stock and announces what came of it, all in the transaction that also records the message in the inbox. An order that comes again under
 * another message gets the same answer and takes nothing; the answer's id is the order's, so that it counts once.
 */
export async function fulfil(
  tx: TransactionLike,
  outbox: Outbox,
  order: PlacedOrder,
): Promise<'fulfilled' | 'fulfilled-before' | 'out-of-stock' | 'unknown-film'> {
  const { rows } = (await tx.query(
    `with change as (
       update stock set remaining = remaining - $3, version = version + 1
        where film_id = $2 and remaining >= $3 and not exists (select from taken where order_id = $1)
       returning film_id, remaining, version),
     line as (insert into taken (order_id, film_id, quantity, version) select $1, film_id, $3, version from change),
     history as (insert into stock_history (film_id, version) select film_id, version from change)
     select remaining, version, null as known, null as before from change
     union all
     select null, null, exists (select from stock where film_id = $2), exists (select from taken where order_id = $1)
      where not exists (select from change)`,
    [order.orderId, order.filmId, order.quantity],
  )) as { rows: [{ remaining: number; version: number } | { remaining: null; version: null; known: boolean; before: boolean }] }
  const [row] = rows
  const answer = { id: order.orderId }

  if (row.remaining !== null) {
    await outbox.add(tx, orderFulfilled, order, answer)
    await outbox.add(tx, stockChanged, { filmId: order.filmId, stock: row.remaining, version: row.version })
    return 'fulfilled'
  }
  if (row.before) {
    await outbox.add(tx, orderFulfilled, order, answer)
    return 'fulfilled-before'
  }
  const reason = row.known ? 'out-of-stock' : 'unknown-film'
  await outbox.add(tx, orderRejected, { ...order, reason }, answer)
  return reason
}
