import type { ServiceError } from './errors.ts'

export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'cut'; readonly error?: unknown }
  | { readonly kind: 'failed'; readonly error: unknown }

export interface Moment {
  /** When the call must have ended, on the clock of performance.now(). Asked again when the stop becomes a fast one. */
  until(): number
  readonly fast: AbortSignal
  /** The reason that the call's signal gets at that moment. */
  readonly late: ServiceError
}

/** One call of a component's code while it stops. Never rejects and never lasts longer than its moment; what comes later is nobody's. */
export function callUntil(work: (signal: AbortSignal) => unknown, { until, fast, late }: Moment): Promise<Outcome> {
  return new Promise((resolve) => {
    const giveUp = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const end = (outcome: Outcome): void => {
      clearTimeout(timer)
      fast.removeEventListener('abort', arm)
      resolve(outcome)
    }
    const arm = (): void => {
      clearTimeout(timer)
      timer = setTimeout(
        () => {
          giveUp.abort(late)
          end({ kind: 'cut' })
        },
        Math.max(0, until() - performance.now()),
      )
    }
    fast.addEventListener('abort', arm)
    arm()
    Promise.resolve()
      .then(() => work(giveUp.signal))
      .then(
        () => end({ kind: 'done' }),
        (error: unknown) => end({ kind: giveUp.signal.aborted ? 'cut' : 'failed', error }),
      )
  })
}
