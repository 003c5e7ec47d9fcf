import { positionOf, positionText, writerPosition } from './causality.ts'
import { type DbPool, engineOf } from './db-pool.ts'
import { invalid } from './options.ts'

/** Carries `causalityToken` from one request to the next. */
export const CAUSALITY_HEADER = 'x-platform-causality'

interface InboundRequest {
  headers: Record<string, string | string[] | undefined>
}

/**
 * Reads by `db.replica` inside of `run` see everything that was written through `db` before them inside of it, and everything before `token`:
 * a replica that has not come so far is passed over. A token that is none is ignored.
 */
export function withCausality<T>(db: DbPool, token: string | undefined, run: () => T): T {
  return engineOf(db).causality.run(positionOf(token), run)
}

/** InboundHook: `withCausality` for each request, with the token of its header. */
export function causalityHook(db: DbPool): <T>(request: InboundRequest, run: () => T) => T {
  const { causality } = engineOf(db)
  return ({ headers }, run) => {
    const header = headers[CAUSALITY_HEADER]
    return causality.run(positionOf(Array.isArray(header) ? header[0] : header), run)
  }
}

/**
 * What a later read must have seen, to be sent along with the answer or the message; undefined when nothing was written or asked for.
 * Only inside of `withCausality` or `causalityHook`.
 */
export async function causalityToken(db: DbPool): Promise<string | undefined> {
  const engine = engineOf(db)
  const { scope } = engine.causality
  if (scope === undefined) throw invalid('db', 'has no causality here: use causalityToken inside of withCausality or causalityHook')
  const position = await scope.position(() => writerPosition(engine))
  return position === undefined ? undefined : positionText(position)
}
