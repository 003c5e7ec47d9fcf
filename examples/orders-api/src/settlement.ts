import { orderFulfilled, orderRejected } from '@film-store/film-contracts'
import type { Broker, Consumer, Inbox, TransactionLike } from '@platform/queue'

/** Fulfilment's word on an order becomes its status: in the inbox's transaction, so that a repeated message has no second effect. */
export function settleOrders(broker: Broker, inbox: Inbox): [Consumer, Consumer] {
  const settle = (tx: TransactionLike, orderId: string, status: 'fulfilled' | 'rejected') =>
    tx.query('update orders set status = $2, settlements = settlements + 1, settled_at = clock_timestamp() where id = $1', [
      orderId,
      status,
    ])
  const options = { group: 'orders', concurrency: 8, retry: { maxAttempts: 10 }, inbox }
  return [
    broker.consumer(orderFulfilled, async ({ body }, { tx }) => void (await settle(tx, body.orderId, 'fulfilled')), options),
    broker.consumer(orderRejected, async ({ body }, { tx }) => void (await settle(tx, body.orderId, 'rejected')), options),
  ]
}
