/**
 * The books: what customers saw and what the databases know, held against a model of what must have happened. `entry.ts` says what a statement
 * is, `ledger.ts` what is read, `model.ts` what must be true; the others hold the one against the other.
 */
import type { Film } from '@film-store/film-contracts'
import type { Traffic } from '@film-store/shopper'
import { customersCame, customersServed, requestsSentAgain } from './books/customers.ts'
import { type Check, type Entry, judge } from './books/entry.ts'
import type { Ledger } from './books/ledger.ts'
import { messagesAccounted } from './books/messages.ts'
import { type Model, replay } from './books/model.ts'
import { ordersKept, pricesRight, rejectionsJustified, settledOnce } from './books/orders.ts'
import { catalogRight, pagesFresh, pagesRight } from './books/pages.ts'
import { searchesRight } from './books/searches.ts'
import { effectsMatch, historyWhole, stockConserved } from './books/stock.ts'

export { deadLettered } from './books/dead-letters.ts'
export type { Entry } from './books/entry.ts'
export { isSettled, type Ledger, readLedger } from './books/ledger.ts'

/** What the ledgers cannot say. */
export interface Circumstances {
  readonly traffic: Traffic
  /** The films' source, not what the store was seeded with. */
  readonly films: readonly Film[]
  readonly staleBoundMs: number
  /** From the metrics of the services; undefined when an instance gave none. */
  readonly deadLettered: number | undefined
  /** Requests that may be sent again, as a share of all; five may always. Default 0.001. */
  readonly sentAgainShare?: number
}

/** Customers whose store is broken on purpose are served by what is left of it. */
export const sentAgainShare = { calm: 0.001, chaos: 0.5 } as const

export function checkBooks(ledger: Ledger, circumstances: Circumstances): Entry[] {
  const { traffic, films, staleBoundMs, deadLettered, sentAgainShare: share = sentAgainShare.calm } = circumstances
  const { accepted, views } = traffic
  let model: Model | undefined
  const story = () => (model ??= replay(films, ledger, accepted))
  const checks: Check[] = [
    { name: 'every accepted order is kept as it was, and no other', look: () => ordersKept(ledger, accepted) },
    { name: 'every order is settled exactly once', look: () => settledOnce(ledger) },
    { name: "every order carries its film's price", look: () => pricesRight(ledger, accepted, story()) },
    { name: 'every rejection is justified by the stock', look: () => rejectionsJustified(ledger, story()) },
    { name: "stock sold + stock left = the source's stock, by film", look: () => stockConserved(ledger, story()) },
    { name: 'stock was taken for exactly the fulfilled orders', look: () => effectsMatch(ledger, accepted) },
    { name: 'the history has every change of every stock', look: () => historyWhole(ledger, story()) },
    { name: 'every message was handed over and had its effect', look: () => messagesAccounted(ledger, accepted, deadLettered) },
    { name: "the catalog is the source's, with the stock left", look: () => catalogRight(ledger, story()) },
    { name: 'every page is its film, with the stock of its version', look: () => pagesRight(views, story()) },
    { name: `no page is older than ${staleBoundMs / 1000} s`, look: () => pagesFresh(views, story(), staleBoundMs) },
    { name: 'every search finds what the source says', look: () => searchesRight(traffic.searches, films) },
    { name: 'no customer got an error', look: () => customersServed(traffic) },
    { name: 'few requests were sent again', look: () => requestsSentAgain(traffic, share) },
    { name: 'customers came, and all that they did is recorded', look: () => customersCame(traffic) },
  ]
  return checks.map(judge)
}
