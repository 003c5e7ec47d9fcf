/** The main job, start to end: servers, services, traffic, settlement, books, scorecard, clean-up. */
import { writeFile } from 'node:fs/promises'
import { readFilms } from '@film-store/film-contracts'
import { checkBooks, deadLettered, type Entry, sentAgainShare } from './books.ts'
import { runCommand } from './command.ts'
import { costs } from './costs.ts'
import { type Figure, figures } from './figures.ts'
import { type DemoOptions, readOptions, usage } from './options.ts'
import { printBooks, printScorecard, printTraffic, trafficFigures } from './report.ts'
import { scrape } from './scrape.ts'
import { secretsKept } from './secrets.ts'
import { builtCode } from './services.ts'
import { openStore, type Store } from './store.ts'
import { type Part, settle, together, trade } from './trade.ts'

/** How far behind a page's stock may be. Whoever breaks the store on purpose grants it the time to come back. */
const staleBoundMs = { calm: 5_000, chaos: 30_000 }

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
  const { rush, steady, overhead, warm, recoveries, propagation } = await trade(store, films, options, say, signal)
  const parts = steady ? [rush, steady] : [rush]
  const traffic = together(parts.map((part) => part.traffic))
  say('waiting for the last orders to settle')
  const ledger = await settle(store, traffic, signal)
  const end = await scrape(store)
  const circumstances = {
    traffic,
    films,
    staleBoundMs: chaos ? staleBoundMs.chaos : staleBoundMs.calm,
    sentAgainShare: chaos ? sentAgainShare.chaos : sentAgainShare.calm,
    deadLettered: deadLettered(end),
  }
  const books = [...checkBooks(ledger, circumstances), await secretsKept(store), await leave(store)]
  const card = figures({ books, rush, steady, overhead, warm, end, setUpMs, propagation })
  for (const part of parts) printTraffic(part, store)
  printBooks(books)
  printScorecard(card)

  const balanced = books.every((entry) => entry.holds)
  const missed = card.filter((figure) => figure.holds === false)
  if (options.json)
    await writeFile(options.json, JSON.stringify({ ...summary(options, store, parts, books, card), setUpMs, recoveries }, null, 2))
  const good = balanced && !(options.strict && missed.length > 0)
  console.log(`\n${balanced ? 'The books balance' : 'THE BOOKS DO NOT BALANCE'}; ${missed.length} of ${card.length} targets missed.`)
  if (!good) console.log(`The log of the services is kept: ${store.services.keepLog()}`)
  return good
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

function summary(options: DemoOptions, store: Store, parts: readonly Part[], books: readonly Entry[], card: readonly Figure[]): object {
  return {
    options,
    servers: Object.fromEntries(store.servers.map(({ name, version }) => [name, version])),
    ...Object.fromEntries(parts.map((part) => [part.pace.kind, { ...trafficFigures(part.traffic), cpu: costs(part, store) }])),
    books,
    scorecard: card,
  }
}

process.exitCode = await runCommand({
  usage,
  read: readOptions,
  run: async (options, signal) => ((await demo(options, signal)) ? 0 : 1),
  stopped: () => {
    console.error('Stopped; everything that was started is gone.')
    return 130
  },
  onSignal: (signal) => say(`${signal}: cleaning up`),
})
