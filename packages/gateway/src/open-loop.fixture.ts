import { type Agent, request, type RequestOptions } from 'node:http'
import { request as secureRequest } from 'node:https'
import { pause } from '@platform/kernel'

/** Starts so many requests a second for a while, whatever became of those before; resolves with what each gave. */
export async function openLoop<T>(perSecond: number, forMs: number, ask: (index: number) => Promise<T>): Promise<T[]> {
  const startedAt = performance.now()
  const asked: Promise<T>[] = []
  for (;;) {
    const elapsedMs = Math.min(forMs, performance.now() - startedAt)
    while (asked.length < (elapsedMs * perSecond) / 1000) asked.push(ask(asked.length))
    if (elapsedMs === forMs) return Promise.all(asked)
    await pause(2)
  }
}

/** The status; 0 where there was no answer. */
export function statusOf(url: string, options: RequestOptions & { agent: Agent; rejectUnauthorized?: boolean }): Promise<number> {
  return new Promise((resolve) => {
    const ask = url.startsWith('https:') ? secureRequest : request
    const outgoing = ask(url, { timeout: 20_000, ...options }, (response) => {
      response.resume()
      response.once('close', () => resolve(response.complete ? (response.statusCode ?? 0) : 0))
    })
    outgoing.once('timeout', () => void outgoing.destroy())
    outgoing.once('error', () => resolve(0))
    outgoing.end()
  })
}

/** How often each value is there: `{ 200: 500 }`. */
export function counted(values: readonly number[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}
