import { awaitedByMany } from '@platform/kernel'
import { withoutDeadline } from './deadline.ts'

interface Flight<T> {
  readonly wait: (signal?: AbortSignal) => Promise<T>
  readonly controller: AbortController
  callers: number
}

export interface SingleFlight<T> {
  /** Joins the work under way for `key` or starts it. A caller that aborts leaves the others alone; with the last one the work is aborted. The deadline of whoever started it does not apply to the work; each caller's own signal does to its wait. */
  run(key: string, work: (options: { signal: AbortSignal }) => Promise<T>, options?: { signal?: AbortSignal | undefined }): Promise<T>
}

export function singleFlight<T>(): SingleFlight<T> {
  const flights = new Map<string, Flight<T>>()

  const start = (key: string, work: (options: { signal: AbortSignal }) => Promise<T>): Flight<T> => {
    const controller = new AbortController()
    const result = withoutDeadline(async () => work({ signal: controller.signal }))
    const flight: Flight<T> = { controller, callers: 0, wait: awaitedByMany(result) }
    const forget = (): void => {
      if (flights.get(key) === flight) flights.delete(key)
    }
    result.then(forget, forget)
    flights.set(key, flight)
    return flight
  }

  const leave = (key: string, flight: Flight<T>, reason: unknown): void => {
    if (--flight.callers > 0) return
    if (flights.get(key) === flight) flights.delete(key)
    flight.controller.abort(reason)
  }

  return {
    run(key, work, { signal } = {}) {
      if (signal?.aborted) return Promise.reject(signal.reason)
      const flight = flights.get(key) ?? start(key, work)
      flight.callers++
      if (signal === undefined) return flight.wait()
      return flight.wait(signal).catch((error: unknown) => {
        if (signal.aborted) leave(key, flight, signal.reason)
        throw error
      })
    },
  }
}
