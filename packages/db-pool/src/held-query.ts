import { mayHaveWritten } from './causality.ts'
import type { QueryResult } from './connection.ts'
import type { ConnectionPool } from './pool.ts'
import { type Done, lastResult, type Session } from './session.ts'
import { statementOf } from './sql/statement.ts'

/** A statement on a connection that somebody holds. An abort rejects at once and cancels on the server; the connection stays with its holder. */
export async function runOnSession<R extends object>(
  pool: ConnectionPool,
  session: Session,
  text: string,
  values: readonly unknown[] | undefined,
  signal: AbortSignal | undefined,
): Promise<QueryResult<R>> {
  if (signal?.aborted) throw signal.reason
  const { scope } = pool.causality
  const operation = pool.instruments.operation(statementOf(text).operation)
  try {
    const result = await (signal === undefined ? session.query<R>(text, values) : cancellable<R>(pool, session, text, values, signal))
    if (scope !== undefined && mayHaveWritten(text, session)) scope.noteWrite()
    operation.end()
    return result
  } catch (error) {
    operation.end(error)
    // The error was made when the server's answer came in; this leads back to the caller.
    if (error instanceof Error && error !== signal?.reason) Error.captureStackTrace(error)
    throw error
  }
}

/** A statement that is all its borrower wants: the connection goes on to the next one in the moment the answer is complete. */
export async function runAndRelease<R extends object>(
  pool: ConnectionPool,
  session: Session,
  text: string,
  values: readonly unknown[] | undefined,
): Promise<QueryResult<R>> {
  const { scope } = pool.causality
  const operation = pool.instruments.operation(statementOf(text).operation)
  try {
    return await new Promise<QueryResult<R>>((resolve, reject) => {
      session.run(text, values, (error, result) => {
        if (error === undefined) {
          if (scope !== undefined && mayHaveWritten(text, session)) scope.noteWrite()
          pool.release(session)
          operation.end()
          resolve(lastResult<R>(result))
        } else {
          const explained = session.explain(error)
          operation.end(explained)
          void giveBack(pool, session).then(() => reject(explained))
        }
      })
    })
  } catch (error) {
    if (error instanceof Error) Error.captureStackTrace(error)
    throw error
  }
}

/** Who was refused a write learns of it once the pool knows whether the server is a standby: its next call goes to the right one. */
export async function giveBack(pool: ConnectionPool, session: Session): Promise<void> {
  if (session.writeRefused) await pool.restore(session)
  else pool.release(session)
}

function cancellable<R extends object>(
  pool: ConnectionPool,
  session: Session,
  text: string,
  values: readonly unknown[] | undefined,
  signal: AbortSignal,
): Promise<QueryResult<R>> {
  return new Promise((resolve, reject) => {
    const done: Done = (error, result) => {
      signal.removeEventListener('abort', onAbort)
      if (error === undefined) resolve(lastResult<R>(result))
      else reject(session.explain(error))
    }
    const onAbort = (): void => {
      reject(signal.reason)
      session.cancel(done, signal.reason, pool.options.cancelTimeoutMs)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    session.run(text, values, done)
  })
}
