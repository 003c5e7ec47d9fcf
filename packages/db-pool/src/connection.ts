import type { Cancellable } from './options.ts'

/** What the server answered. It is `pg`'s own Result: `fields` and `command` are there too. A text of several statements gives the last one's. */
export interface QueryResult<R extends object = Record<string, unknown>> {
  rows: R[]
  /** Rows returned or changed; 0 where the server counts none. */
  rowCount: number
  command: string
}

export interface QueryOptions extends Cancellable {}

export interface Queryable {
  /**
   * One statement; several separated by `;` only without values. When the signal aborts, the call rejects with its reason at once
   * and the statement is cancelled on the server; whether it had already taken effect is then unknown.
   */
  query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<QueryResult<R>>
}

/**
 * One connection, held until the work given to `withConnection` settles. At that moment the pool looks at it: an open transaction is
 * rolled back; settings, LISTEN, advisory locks, temporary tables are undone; what cannot be undone costs the connection.
 */
export interface Connection extends Queryable {
  /** I: no transaction; T: in one; E: in one that failed. */
  readonly transactionStatus: 'I' | 'T' | 'E'
}

export interface Transaction extends Queryable {
  /**
   * Runs once the server has confirmed the COMMIT, before `transaction` resolves, in the order of registration; never after a rollback,
   * nor after the rollback of the savepoint it was registered in. A failure is logged and changes nothing: the commit stands.
   */
  afterCommit(run: () => void | Promise<void>): void
  /** A savepoint. One at a time: a second beside an open one throws ERR_DB_POOL_TX_BUSY. */
  transaction<T>(work: (savepoint: Transaction) => Promise<T>): Promise<T>
}

export type IsolationLevel = 'read committed' | 'repeatable read' | 'serializable'

export interface TransactionOptions extends Cancellable {
  isolation?: IsolationLevel | undefined
  readOnly?: boolean | undefined
  /** Tries including the first. More than 1 runs the whole of `work` again after a serialization failure or deadlock (40001, 40P01). Default 1. */
  maxAttempts?: number | undefined
}

export interface DbPoolStats {
  readonly open: number
  readonly inUse: number
  readonly idle: number
  readonly waiting: number
}
