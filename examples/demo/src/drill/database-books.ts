import type { Film } from '@film-store/film-contracts'
import type { AcceptedOrder } from '@film-store/shopper'
import { type Entry, judge } from '../books/entry.ts'
import type { Ledger } from '../books/ledger.ts'
import { replay } from '../books/model.ts'
import { ordersKept, settledOnce } from '../books/orders.ts'
import { catalogRight } from '../books/pages.ts'
import { effectsMatch, historyWhole, stockConserved } from '../books/stock.ts'

/** The databases' part of the books: messages and pages of before are gone with the machine. */
export function databaseBooks(ledger: Ledger, accepted: readonly AcceptedOrder[], films: readonly Film[]): Entry[] {
  const story = replay(films, ledger, accepted)
  return [
    { name: 'every order is kept as it was accepted', look: () => ordersKept(ledger, accepted) },
    { name: 'every order is settled exactly once', look: () => settledOnce(ledger) },
    { name: "stock sold + stock left = the source's stock, by film", look: () => stockConserved(ledger, story) },
    { name: 'stock was taken for exactly the fulfilled orders', look: () => effectsMatch(ledger, accepted) },
    { name: 'the history has every change of every stock', look: () => historyWhole(ledger, story) },
    { name: "the catalog is the source's, with the stock left", look: () => catalogRight(ledger, story) },
  ].map(judge)
}

const sorted = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).toSorted()
/** Word for word, whatever the order of the rows. */
export function sameBooks(now: Ledger, then: Ledger): Entry {
  const parts = ['orders', 'stock', 'taken', 'history'] as const
  const faults = parts.filter((part) => JSON.stringify(sorted(now[part])) !== JSON.stringify(sorted(then[part])))
  const name = 'at the moment before, the databases hold what they held then'
  return judge({ name, look: () => ({ faults: faults.map((part) => `${part} differ`), detail: `${then.orders.length} orders` }) })
}
