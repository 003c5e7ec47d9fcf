import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { signIn } from './sign-in.ts'

const pauseMs = 100
const films = 400

/** A few customers who look at pages and order all the time, so that there is something to measure. */
export interface Customers extends AsyncDisposable {
  /** Places so many orders besides, all at once; resolves when each has its answer, of whatever kind. */
  order(count: number): Promise<void>
  /** What they were answered so far. */
  readonly answers: { readonly all: number; readonly failed: readonly string[] }
}

/** Orders one of the films, whichever. */
export function orderRequest(token: string): RequestInit {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': randomUUID(), authorization: `Bearer ${token}` },
    body: JSON.stringify({ filmId: anyFilm(), quantity: 1 }),
  }
}

const anyFilm = () => 1 + Math.floor(Math.random() * films)

export async function customers(shopUrl: string): Promise<Customers> {
  const token = await signIn(shopUrl, 'customers')
  const leaving = new AbortController()
  const failed: string[] = []
  let all = 0
  const ask = async (path: string, init: RequestInit = {}) => {
    all++
    try {
      const answer = await fetch(`${shopUrl}${path}`, { ...init, signal: AbortSignal.timeout(30_000) })
      const text = await answer.text()
      if (answer.status >= 500) failed.push(`${init.method ?? 'GET'} ${path}: ${answer.status} ${text.slice(0, 200)}`.trim())
    } catch (error) {
      failed.push(`${init.method ?? 'GET'} ${path}: ${String((error as Error).cause ?? error)}`)
    }
  }
  const placeOrder = () => ask('/orders', orderRequest(token))
  const stroll = async (act: () => Promise<void>) => {
    while (!leaving.signal.aborted) {
      await act()
      await pause(pauseMs, undefined, { signal: leaving.signal }).catch(() => {})
    }
  }
  const strolling = [stroll(() => ask(`/films/${anyFilm()}`)), stroll(() => ask('/films?query=matrix')), stroll(placeOrder)]
  return {
    async order(count) {
      await Promise.all(Array.from({ length: count }, placeOrder))
    },
    get answers() {
      return { all, failed }
    },
    async [Symbol.asyncDispose]() {
      leaving.abort()
      await Promise.all(strolling)
    },
  }
}
