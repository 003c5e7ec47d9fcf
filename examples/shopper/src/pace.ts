import type { Visit } from './visit.ts'

/**
 * How customers come. In a `rush` as many as `concurrency` shop at the same time, each step as soon as the one before is done: a slow answer
 * slows the offer, so it tells what the store can do. At a `steady` pace they arrive by the clock and take their steps at moments of their own:
 * whatever the answers, the offer stays, so it tells how long an answer takes.
 */
export type Pace = { readonly kind: 'rush'; readonly concurrency: number } | { readonly kind: 'steady'; readonly ordersPerSecond: number }

export interface Crowd<Step> {
  /** How many come in all. */
  readonly customers: number
  /** In a rush, customers come beyond that number for as long as it says so. */
  goOn?(): boolean
  visitOf(customer: number): { readonly steps: readonly Step[]; readonly pausesMs: Visit['pausesMs'] }
  /** Takes a step that was meant for this moment of `performance.now()`. */
  take(step: Step, intendedAt: number): Promise<void>
  /** Called for each customer that has left. */
  onLeft?(): void
  readonly signal?: AbortSignal
}

/** Resolves when the last customer has left; rejects with the first failure of a step. */
export function arrive<Step>(pace: Pace, crowd: Crowd<Step>): Promise<void> {
  return pace.kind === 'rush' ? rush(pace.concurrency, crowd) : steady(pace.ordersPerSecond, crowd)
}

async function rush<Step>(concurrency: number, { customers, goOn, visitOf, take, onLeft, signal }: Crowd<Step>): Promise<void> {
  let come = 0
  const place = async () => {
    while (come < customers || goOn?.()) {
      for (const step of visitOf(come++).steps) {
        signal?.throwIfAborted()
        await take(step, performance.now())
      }
      onLeft?.()
    }
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, customers) }, place))
}

async function steady<Step>(perSecond: number, { customers, visitOf, take, onLeft, signal }: Crowd<Step>): Promise<void> {
  const startedAt = performance.now()
  const failed = new AbortController()
  const over = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal
  const noticed = <T>(work: Promise<T>) => {
    work.catch((error: unknown) => failed.abort(error))
    return work
  }
  const stay = async (customer: number, arrivesAt: number) => {
    const { steps, pausesMs } = visitOf(customer)
    const taken: Promise<void>[] = []
    let intendedAt = arrivesAt
    for (const [index, step] of steps.entries()) {
      await moment(intendedAt, over)
      taken.push(noticed(take(step, intendedAt))) // the next step does not wait for its answer
      intendedAt += pausesMs[index]!
    }
    await Promise.all(taken)
    onLeft?.()
  }
  const visits: Promise<void>[] = []
  for (let customer = 0; customer < customers; customer++) {
    const arrivesAt = startedAt + (customer * 1_000) / perSecond
    await moment(arrivesAt, over)
    visits.push(noticed(stay(customer, arrivesAt)))
  }
  await Promise.all(visits)
}

/** Resolves at this moment of `performance.now()`, at once when it has passed; rejects with the signal's reason. */
async function moment(at: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const waitMs = at - performance.now()
  if (waitMs > 0) {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, waitMs)
      signal.addEventListener('abort', done)
    })
  }
  signal.throwIfAborted()
}
