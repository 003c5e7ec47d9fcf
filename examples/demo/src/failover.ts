/** Failover rehearsed: in a store in which no server is alone, kills whoever leads, one kind after the other, while customers order; then compares the books. */
import { writeFile } from 'node:fs/promises'
import { reachHa, strayReach } from '@film-store/containers'
import { readFilms } from '@film-store/film-contracts'
import { shop } from '@film-store/shopper'
import { judge } from './books/entry.ts'
import { replay } from './books/model.ts'
import { pagesFresh, pagesRight } from './books/pages.ts'
import { openComposeStore } from './compose.ts'
import { databaseBooks } from './drill/database-books.ts'
import { type Failover, flowsAgain, killLeader, leaders, toldOf } from './drill/leaders.ts'
import { printBooks } from './report.ts'
import { builtCode } from './services.ts'
import { settle } from './trade.ts'
import { type RehearsalOptions, rehearseStore, say } from './store-rehearsal.ts'

const usage = `Usage: pnpm infra failover [--no-build] [--json FILE]
A store of its own in which no server is alone. Kills the leader of PostgreSQL, RabbitMQ, Redis and Consul in turn while customers order, prints how long
it took until orders were settled again without help, and compares the books. Ends with 1 when one did not take over or the books do not balance.`

/** How far behind a page's stock may be while servers die. */
const staleBoundMs = 30_000

async function failover({ build, json }: RehearsalOptions, signal: AbortSignal): Promise<boolean> {
  const { films } = await readFilms()
  await using store = await openComposeStore({ mode: 'compose', ha: true, launcher: builtCode, build, signal, onProgress: say })
  const { url, signIn } = store.door!
  const stray = await strayReach(store.compose.project.env['COMPOSE_PROJECT_NAME']!, reachHa)
  const token = await signIn('customers of the failover')
  let broken = false
  let whole = false
  const shopping = shop({
    ...store,
    token,
    films,
    orders: 1,
    pace: { kind: 'rush', concurrency: 4 },
    seed: 1,
    signal,
    goOn: () => !whole && !broken,
  })
  const failovers: Failover[] = []
  try {
    for (const leader of leaders) {
      const seen = await killLeader(store.containers!, { url, token }, leader, signal)
      say(toldOf(seen))
      failovers.push(seen)
    }
    whole = true
  } finally {
    broken = !whole
  }
  const traffic = await shopping
  say(`${traffic.accepted.length} orders, ${traffic.views.length} pages; ${traffic.passedOver} requests were sent again`)
  const ledger = await settle(store, traffic, signal)
  // An order whose customer was told of an error, or of nothing, may have been kept.
  const told = new Set([...traffic.accepted, ...failovers].map(({ orderId }) => orderId))
  const untold = ledger.orders.filter(({ id }) => !told.has(id))
  const seen = new Set(traffic.accepted.map(({ orderId }) => orderId))
  const others = ledger.orders.filter(({ id }) => !seen.has(id))
  const known = [
    ...traffic.accepted,
    ...others.map(({ id, key, filmId, quantity, priceCents }) => ({ orderId: id, key, filmId, quantity, answer: { priceCents } })),
  ]
  const story = replay(films, ledger, known)
  const books = [
    judge({
      name: 'each network reaches whom it may, and nobody else',
      look: () => ({ faults: stray, detail: Object.keys(reachHa).join(', ') }),
    }),
    ...failovers.map(flowsAgain),
    ...databaseBooks(ledger, known, films),
    judge({ name: 'every page is its film, with the stock of its version', look: () => pagesRight(traffic.views, story) }),
    judge({ name: `no page is older than ${staleBoundMs / 1000} s`, look: () => pagesFresh(traffic.views, story, staleBoundMs) }),
    judge({
      name: 'no order was kept without its customer being told of it, or of an error',
      look: () => ({
        faults: untold.length <= traffic.unexpected.length ? [] : [`${untold.length} orders`],
        detail: `${untold.length} untold, ${traffic.unexpected.length} errors`,
      }),
    }),
  ]
  printBooks(books)
  for (const line of traffic.unexpected.slice(0, 5)) say(line.slice(0, 300))
  if (json)
    await writeFile(json, JSON.stringify({ failovers, orders: traffic.accepted.length, errors: traffic.unexpected.length, books }, null, 2))
  return books.every(({ holds }) => holds)
}

await rehearseStore(usage, failover)
