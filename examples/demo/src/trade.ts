/** The traffic under a stated load: half of the orders in a rush, then half at the pace of half of what the rush reached. */
import type { Film } from '@film-store/film-contracts'
import { addedUp, type Pace, shop, type Traffic } from '@film-store/shopper'
import { isSettled, type Ledger, readLedger } from './books.ts'
import { breakStore, type Recovery } from './chaos.ts'
import type { DemoOptions } from './options.ts'
import { measureOverhead, type Overhead } from './overhead.ts'
import { processorTimes } from './processor-times.ts'
import { reconfigure } from './reconfigure.ts'
import { type Scrape, scrape } from './scrape.ts'
import type { Store } from './store.ts'

/** One of the two, and what the services had counted before and after it. */
export interface Part {
  readonly pace: Pace
  readonly traffic: Traffic
  readonly before: Reading
  readonly after: Reading
}

interface Reading {
  readonly pages: Scrape
  readonly processorUs: Readonly<Record<string, number>>
}

export interface Trade {
  readonly rush: Part
  /** Absent when there was but one order. */
  readonly steady: Part | undefined
  /** Of the gateway beside the steady part. */
  readonly overhead: Overhead | undefined
  /** After the first tenth of all orders: it separates cold caches from warm ones. */
  readonly warm: Scrape
  readonly recoveries: readonly Recovery[]
  /** How long a change of settings took to be in every instance, or why nobody looked. */
  readonly propagation: number | string
}

/** Beyond the number of every customer of a rush, which may go on for longer than its half. */
const strangers = 1_000_000
const settledWithinMs = 120_000
const progressEveryMs = 2_000

export async function trade(
  store: Store,
  films: readonly Film[],
  { orders, concurrency, seed, chaos }: DemoOptions,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<Trade> {
  let warm: Promise<Scrape> | undefined
  let broken: Promise<Recovery[]> | undefined
  let changed: Promise<number | string> | undefined
  let whole = chaos !== 'servers'
  const stopShopping = new AbortController()
  const shopping = AbortSignal.any([signal, stopShopping.signal])

  /** What happens in the middle of the rush, when the store is busiest. */
  const onOrders = (placed: number) => {
    if (placed >= orders / 10) warm ??= scrape(store)
    if (!chaos && placed >= orders / 4) {
      changed ??= reconfigure(store, films[0]!.id, signal).catch((error: Error) => error.message)
    }
    if (chaos && placed >= orders / (chaos === 'servers' ? 10 : 4)) {
      broken ??= breakStore(store, chaos, say).finally(() => {
        whole = true
      })
      broken.catch((error: unknown) => stopShopping.abort(error))
    }
  }

  const read = async (): Promise<Reading> => ({ pages: await scrape(store), processorUs: processorTimes() })
  const entrance = store.door
    ? { catalogUrls: [store.door.url], ordersUrls: [store.door.url], token: await store.door.signIn(`customers of seed ${seed}`) }
    : { catalogUrls: store.catalogUrls, ordersUrls: store.ordersUrls }
  const part = async (pace: Pace, share: number, firstCustomer: number): Promise<Part> => {
    const before = await read()
    let shownAt = 0
    const traffic = await shop({
      ...entrance,
      films,
      orders: share,
      pace,
      seed,
      firstCustomer,
      signal: shopping,
      ...(pace.kind === 'rush' && { goOn: () => !whole }),
      onProgress(done) {
        if (pace.kind === 'rush') onOrders(done.orders)
        if (performance.now() - shownAt < progressEveryMs) return
        shownAt = performance.now()
        say(`${pace.kind}: ${done.orders} of ${share} orders, ${done.views} pages`)
      },
    })
    return { pace, traffic, before, after: await read() }
  }

  const half = Math.ceil(orders / 2)
  const rush = await part({ kind: 'rush', concurrency }, half, 0)
  const recoveries = (await broken) ?? []
  const propagation = (await changed) ?? 'the store was broken on purpose'
  const reached = rush.traffic.accepted.length / (rush.traffic.durationMs / 1_000)
  say(`the rush reached ${reached.toFixed(1)} orders/s; the steady part follows when its orders are settled`)
  await settle(store, rush.traffic, signal)
  const steadyEnds = new AbortController()
  const costly = measureOverhead(store, films[0]!.id, AbortSignal.any([signal, steadyEnds.signal]))
  const steady = orders > half ? await part({ kind: 'steady', ordersPerSecond: reached / 2 }, orders - half, strangers) : undefined
  steadyEnds.abort()
  const overhead = await costly
  return { rush, steady, overhead, recoveries, propagation, warm: await (warm ?? rush.after.pages) }
}

/** Resolves with the ledger once nothing is under way any more, or with what it says after two minutes. */
export async function settle(store: Store, traffic: Pick<Traffic, 'accepted'>, signal: AbortSignal): Promise<Ledger> {
  const deadline = performance.now() + settledWithinMs
  for (;;) {
    signal.throwIfAborted()
    const ledger = await readLedger(store)
    if (isSettled(ledger, traffic.accepted) || performance.now() > deadline) return ledger
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

/** The whole of it: what the books are kept over. */
export function together(parts: readonly Traffic[]): Traffic {
  const total = (pick: (traffic: Traffic) => number) => parts.reduce((sum, traffic) => sum + pick(traffic), 0)
  return {
    views: parts.flatMap(({ views }) => views),
    accepted: parts.flatMap(({ accepted }) => accepted),
    unexpected: parts.flatMap(({ unexpected }) => unexpected),
    searches: parts.flatMap(({ searches }) => searches),
    asked: addedUp(parts.map(({ asked }) => asked)) as Traffic['asked'],
    requests: total(({ requests }) => requests),
    passes: addedUp(parts.map(({ passes }) => passes)),
    viewDurationsMs: parts.flatMap(({ viewDurationsMs }) => viewDurationsMs),
    orderDurationsMs: parts.flatMap(({ orderDurationsMs }) => orderDurationsMs),
    passedOver: total(({ passedOver }) => passedOver),
    durationMs: total(({ durationMs }) => durationMs),
  }
}
