import type { QueryResult } from './connection.ts'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'
import { statementOf } from './statement.ts'

/** A statement on a connection that somebody holds. An abort rejects at once and cancels on the server; the connection stays with its holder. */
export async function runOnSession<R extends object>(
  pool: ConnectionPool,
  session: Session,
  text: string,
  values: readonly unknown[] | undefined,
  signal: AbortSignal | undefined,
): Promise<QueryResult<R>> {
  if (signal?.aborted) throw signal.reason
  const operation = pool.instruments.operation(statementOf(text).operation)
  try {
    const result = await (signal === undefined ? session.query<R>(text, values) : cancellable<R>(pool, session, text, values, signal))
    operation.end()
    return result
  } catch (error) {
    operation.end(error)
    // The error was made when the server's answer came in; this leads back to the caller.
    if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error)
    throw error
  }
}

function cancellable<R extends object>(
  pool: ConnectionPool,
  session: Session,
  text: string,
  values: readonly unknown[] | undefined,
  signal: AbortSignal,
): Promise<QueryResult<R>> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason)
      session.cancel(signal.reason, pool.options.cancelTimeoutMs)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    session
      .query<R>(text, values)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort))
  })
}
