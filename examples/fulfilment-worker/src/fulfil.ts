import { orderFulfilled, orderRejected, stockChanged } from '@film-store/film-contracts'
import type { Outbox, TransactionLike } from '@platform/queue'

export interface PlacedOrder {
  readonly orderId: string
  readonly filmId: number
  readonly quantity: number
}

/** Takes the stock and announces what came of it, all in the transaction that also records the message in the inbox. */
export async function fulfil(
  tx: TransactionLike,
  outbox: Outbox,
  order: PlacedOrder,
): Promise<'fulfilled' | 'out-of-stock' | 'unknown-film'> {
  const { rows } = (await tx.query(
    `with change as (
       update stock set remaining = remaining - $3, version = version + 1
        where film_id = $2 and remaining >= $3
       returning film_id, remaining, version),
     line as (insert into taken (order_id, film_id, quantity, version) select $1, film_id, $3, version from change),
     history as (insert into stock_history (film_id, version) select film_id, version from change)
     select remaining, version, null as known from change
     union all
     select null, null, exists (select from stock where film_id = $2) where not exists (select from change)`,
    [order.orderId, order.filmId, order.quantity],
  )) as { rows: [{ remaining: number; version: number; known: null } | { remaining: null; version: null; known: boolean }] }
  const [row] = rows

  if (row.remaining === null) {
    const reason = row.known ? 'out-of-stock' : 'unknown-film'
    await outbox.add(tx, orderRejected, { ...order, reason })
    return reason
  }
  await outbox.add(tx, orderFulfilled, order)
  await outbox.add(tx, stockChanged, { filmId: order.filmId, stock: row.remaining, version: row.version })
  return 'fulfilled'
}
