/** The main job, start to end: servers, services, traffic, settlement, books, scorecard, clean-up. */
import { writeFile } from 'node:fs/promises'
import { type Film, readFilms } from '@film-store/film-contracts'
import { shop, type Traffic } from '@film-store/shopper'
import { checkBooks, type Entry, isSettled, type Ledger, readLedger } from './books.ts'
import { breakStore, type Recovery } from './chaos.ts'
import { type Figure, figures, type Scrape, scrape } from './figures.ts'
import { sum } from './metrics.ts'
import { type DemoOptions, readOptions, usage } from './options.ts'
import { reconfigure } from './reconfigure.ts'
import { percentile, printBooks, printScorecard, printTraffic } from './report.ts'
import { secretsKept } from './secrets.ts'
import { builtCode } from './services.ts'
import { openStore, type Store } from './store.ts'

/** How far behind a page's stock may be. Whoever breaks the store on purpose grants it the time to come back. */
const staleBoundMs = { calm: 5_000, chaos: 30_000 }
const settledWithinMs = 120_000

const startedAt = performance.now()
const say = (line: string) => console.log(`[${((performance.now() - startedAt) / 1000).toFixed(1).padStart(5)} s] ${line}`)

async function demo(options: DemoOptions, signal: AbortSignal): Promise<boolean> {
  const { orders, concurrency, mode, seed, chaos } = options
  say(`film store, ${mode} mode: ${orders} orders, ${concurrency} customers, seed ${seed}${chaos ? `, chaos: ${chaos}` : ''}`)
  const { films, report } = await readFilms()
  const counted = (tally: Readonly<Record<string, number>>) => Object.entries(tally).map(([what, count]) => `${count} × ${what}`)
  say(
    `${report.kept} of ${report.read} films; dropped: ${counted(report.dropped).join(', ')}; repaired: ${counted(report.repaired).join(', ')}`,
  )

  await using store = await openStore({ mode, build: options.build, launcher: builtCode, signal, onProgress: say })
  const setUpMs = performance.now() - startedAt
  const { traffic, warm, recoveries, propagation } = await trade(store, films, options, signal)
  const ledger = await settle(store, traffic, signal)
  const end = await scrape(store)
  const circumstances = {
    traffic,
    films,
    staleBoundMs: chaos ? staleBoundMs.chaos : staleBoundMs.calm,
    deadLettered: sum(end.samples, 'platform_queue_dead_lettered_total'),
  }
  const books = [...checkBooks(ledger, circumstances), await secretsKept(store), await leave(store)]
  const card = figures({ books, traffic, warm, end, setUpMs, propagation })
  printTraffic(traffic)
  printBooks(books)
  printScorecard(card)

  const balanced = books.every((entry) => entry.holds)
  const missed = card.filter((figure) => figure.holds === false)
  if (options.json)
    await writeFile(options.json, JSON.stringify({ ...summary(options, store, traffic, books, card), setUpMs, recoveries }, null, 2))
  const good = balanced && !(options.strict && missed.length > 0)
  console.log(`\n${balanced ? 'The books balance' : 'THE BOOKS DO NOT BALANCE'}; ${missed.length} of ${card.length} targets missed.`)
  if (!good) console.log(`The log of the services is kept: ${store.services.keepLog()}`)
  return good
}

/** The traffic itself; the scrape after the first tenth separates cold caches from warm ones. */
async function trade(
  store: Store,
  films: readonly Film[],
  options: DemoOptions,
  signal: AbortSignal,
): Promise<{ traffic: Traffic; warm: Scrape; recoveries: Recovery[]; propagation: number | string }> {
  const { orders, concurrency, seed, chaos } = options
  let warm: Promise<Scrape> | undefined
  let broken: Promise<Recovery[]> | undefined
  let changed: Promise<number | string> | undefined
  let whole = chaos !== 'servers'
  let shownAt = 0
  const stopShopping = new AbortController()
  const traffic = await shop({
    ...store,
    films,
    orders,
    concurrency,
    seed,
    signal: AbortSignal.any([signal, stopShopping.signal]),
    goOn: () => !whole,
    onProgress(done) {
      if (done.orders >= orders / 10) warm ??= scrape(store)
      if (!chaos && done.orders >= orders / 4) {
        changed ??= reconfigure(store, films[0]!.id, signal).catch((error: Error) => error.message)
      }
      if (chaos && done.orders >= orders / (chaos === 'servers' ? 10 : 2)) {
        broken ??= breakStore(store, chaos, say).finally(() => {
          whole = true
        })
        broken.catch((error: unknown) => stopShopping.abort(error))
      }
      if (performance.now() - shownAt < 2_000) return
      shownAt = performance.now()
      say(`${done.orders} of ${orders} orders, ${done.views} pages`)
    },
  })
  return {
    traffic,
    recoveries: (await broken) ?? [],
    warm: await (warm ?? scrape(store)),
    propagation: (await changed) ?? 'the store was broken on purpose',
  }
}

async function settle(store: Store, traffic: Traffic, signal: AbortSignal): Promise<Ledger> {
  say('waiting for the last orders to settle')
  const deadline = performance.now() + settledWithinMs
  for (;;) {
    signal.throwIfAborted()
    const ledger = await readLedger(store)
    if (isSettled(ledger, traffic.accepted) || performance.now() > deadline) return ledger
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

async function leave(store: Store): Promise<Entry> {
  say('asking the services to leave')
  const name = 'every service leaves cleanly when asked'
  try {
    await store.close()
    return { name, holds: true, detail: `${store.specs.length} processes, exit code 0` }
  } catch (error) {
    return { name, holds: false, detail: (error as Error).message }
  }
}

function summary(options: DemoOptions, { servers }: Store, traffic: Traffic, books: readonly Entry[], card: readonly Figure[]): object {
  return {
    options,
    servers: Object.fromEntries(servers.map(({ name, version }) => [name, version])),
    traffic: {
      durationMs: traffic.durationMs,
      ordersPerSecond: traffic.accepted.length / (traffic.durationMs / 1000),
      orderP50Ms: percentile(traffic.orderDurationsMs, 0.5),
      orderP99Ms: percentile(traffic.orderDurationsMs, 0.99),
    },
    books,
    scorecard: card,
  }
}

/** What went wrong and why, without the stack: it says nothing to someone who only wants to see the store run. */
function explain(error: unknown): string {
  if (error instanceof SuppressedError) return explain(error.suppressed)
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}\n  because: ${explain(error.cause)}`
}

/** SIGINT and SIGTERM end the run at any moment; what was started is ended in any case. */
async function main(): Promise<number> {
  let options: DemoOptions | 'help'
  try {
    options = readOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  if (options === 'help') {
    console.log(usage)
    return 0
  }
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) say(`${signal}: cleaning up`)
      stop.abort(new Error(`stopped by ${signal}`))
    })
  }
  try {
    return (await demo(options, stop.signal)) ? 0 : 1
  } catch (error) {
    console.error(stop.signal.aborted ? 'Stopped; everything that was started is gone.' : explain(error))
    return stop.signal.aborted ? 130 : 1
  }
}

process.exitCode = await main()
