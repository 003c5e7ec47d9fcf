import { Ledger as MessageLedger } from '@platform/queue/testing'
import type { AcceptedOrder } from '@film-store/shopper'
import type { Findings } from './entry.ts'
import type { Ledger } from './ledger.ts'

const groups = ['fulfilment', 'orders']

/**
 * The queue's own ledger, told of both ways of every order under the order's number: an accepted order is a message that fulfilment must have
 * heard of, once, and whose answer must have come back, once. What fulfilment made of it is seen by the stock that it took, or by its refusal.
 */
function audit({ orders, taken }: Pick<Ledger, 'orders' | 'taken'>, accepted: readonly AcceptedOrder[]) {
  const ledger = new MessageLedger({ groups })
  for (const { orderId: id, filmId } of accepted) {
    ledger.record({ did: 'publish', id, key: String(filmId) })
    ledger.record({ did: 'confirm', id })
  }
  const heard = [...taken.map(({ orderId }) => orderId), ...orders.filter(({ status }) => status === 'rejected').map(({ id }) => id)]
  for (const id of heard) ledger.record({ did: 'handle', id, group: 'fulfilment' })
  for (const { id, settlements } of orders) {
    for (let settled = 0; settled < settlements; settled++) ledger.record({ did: 'handle', id, group: 'orders' })
  }
  return ledger.audit()
}

/** Counted at both ends as well: what waits to be sent, and what the receivers' inboxes hold. */
export function messagesAccounted(ledger: Ledger, accepted: readonly AcceptedOrder[], deadLettered: number | undefined): Findings {
  const { waiting, handled, orders } = ledger
  const arrived = (count: number | undefined, what: string) =>
    count === orders.length ? [] : [`${orders.length} orders were placed, and ${count ?? 'an unknown number of'} ${what} had an effect`]
  const { lost, doubled, unaccounted } = audit(ledger, accepted)
  const faults = [
    ...(waiting === 0 ? [] : [`${waiting} messages still wait in an outbox`]),
    ...arrived(handled?.fulfilment, 'messages to fulfilment'),
    ...arrived(handled?.orders, 'messages back'),
    ...lost.map((name) => `a message never had its effect (${name})`),
    ...doubled.map((name) => `a message had two effects (${name})`),
    ...unaccounted.map((name) => `a message that nobody sent had an effect (${name})`),
    ...(deadLettered === undefined ? ['nobody knows whether messages failed for good: metrics are missing'] : []),
    ...(deadLettered ? [`${deadLettered} messages failed for good`] : []),
  ]
  return { faults, detail: `${orders.length} placed, ${orders.length} settled, ${ledger.history.length} stock changes` }
}
