/** What the door costs: the same page through it and from an instance, one after the other, at a slow pace beside the traffic. */
import { request } from 'node:http'
import { percentile } from './report.ts'
import type { Store } from './store.ts'

export interface Overhead {
  readonly pairs: number
  /** The 95th percentile through the door, less that of the direct calls. */
  readonly p95Ms: number
}

const everyMs = 50
const fewestPairs = 60

/** Asks until the signal aborts. Undefined: there is no door, no other way than through it, or it was too short to tell. */
export async function measureOverhead(
  { door, catalogUrls }: Pick<Store, 'door' | 'catalogUrls'>,
  filmId: number,
  until: AbortSignal,
): Promise<Overhead | undefined> {
  if (!door || catalogUrls.includes(door.url)) return undefined
  const [through, direct]: [number[], number[]] = [[], []]
  for (let turn = 0; !until.aborted; turn++) {
    const way = [
      { url: door.url, durations: through },
      { url: catalogUrls[turn % catalogUrls.length]!, durations: direct },
    ]
    for (const { url, durations } of turn % 2 === 0 ? way : way.toReversed()) {
      const ms = await timed(`${url}/films/${filmId}`)
      if (ms !== undefined) durations.push(ms)
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
  const pairs = Math.min(through.length, direct.length)
  return pairs < fewestPairs ? undefined : { pairs, p95Ms: percentile(through, 0.95) - percentile(direct, 0.95) }
}

/** To the end of the answer; undefined when there was none. */
function timed(url: string): Promise<number | undefined> {
  const startedAt = performance.now()
  return new Promise((resolve) => {
    request(url, { timeout: 5_000 }, (response) => {
      response.resume()
      response.once('end', () => resolve(response.statusCode === 200 ? performance.now() - startedAt : undefined))
      response.once('error', () => resolve(undefined))
    })
      .once('timeout', function (this: { destroy(): void }) {
        this.destroy()
      })
      .once('error', () => resolve(undefined))
      .end()
  })
}
