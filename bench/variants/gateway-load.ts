/**
 * Customers for `questions/gateway.ts`: told `{ url, perSecond, forMs, tokens }` over IPC, asks at that rate whatever became of the requests before,
 * and tells durations from the moment that each was meant for, and what was no 200.
 */
import { Pool } from 'undici'

export interface Load {
  readonly url: string
  readonly perSecond: number
  readonly forMs: number
  /** Each request takes the next one, round and round; none: they come without. */
  readonly tokens: readonly string[]
}

export interface Told {
  readonly durationsMs: readonly number[]
  readonly failed: Readonly<Record<string, number>>
}

process.on('message', (load: Load) => void run(load).then((told) => process.send!(told)))
process.on('disconnect', () => process.exit())
process.send!({ ready: true })

async function run({ url, perSecond, forMs, tokens }: Load): Promise<Told> {
  const { origin, pathname } = new URL(url)
  const pool = new Pool(origin, { connections: 64, pipelining: 1 })
  const headers = tokens.map((token) => ({ authorization: `Bearer ${token}` }))
  const failed: Record<string, number> = {}
  const durationsMs: number[] = []
  const fail = (what: string) => void (failed[what] = (failed[what] ?? 0) + 1)
  const startedAt = performance.now()
  const ask = async (index: number) => {
    try {
      const { statusCode, body } = await pool.request({ path: pathname, method: 'GET', headers: headers[index % headers.length] ?? {} })
      await body.dump()
      if (statusCode !== 200) fail(String(statusCode))
    } catch (error) {
      fail((error as Error).message)
    }
    durationsMs.push(performance.now() - startedAt - (index * 1000) / perSecond)
  }
  const asked: Promise<void>[] = []
  for (let elapsedMs = 0; elapsedMs < forMs; elapsedMs = performance.now() - startedAt) {
    while (asked.length < (Math.min(elapsedMs, forMs) * perSecond) / 1000) asked.push(ask(asked.length))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(asked)
  await pool.destroy()
  return { durationsMs, failed }
}
