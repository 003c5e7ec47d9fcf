import type { DbPool } from './index.ts'

/**
 * Statements that are aborted at about the time they end, by eight callers on four connections; what comes out that is not their own abort.
 * The delays come from the seed.
 */
export async function abortRaces(db: DbPool, races: number, seed: number): Promise<{ aborted: number; foreign: unknown[] }> {
  let state = seed
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    return (state >>> 0) / 2 ** 32
  }
  const foreign: unknown[] = []
  let aborted = 0
  let next = 0
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (next++ < races) {
        const reason = new Error('mine')
        const controller = new AbortController()
        const call = db.query('select pg_sleep($1)', [random() / 2_000], { signal: controller.signal })
        const kind = random()
        if (kind < 0.25) setTimeout(() => controller.abort(reason), random() * 2)
        else if (kind < 0.5) controller.abort(reason)
        else if (kind < 0.75) setImmediate(() => controller.abort(reason))
        await call.catch((error: unknown) => (error === reason ? aborted++ : foreign.push(error)))
      }
    }),
  )
  return { aborted, foreign }
}
