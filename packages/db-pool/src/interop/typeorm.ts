import pg from 'pg'
import type { QueryResult } from '../connection.ts'
import { type DbPool, engineOf } from '../db-pool.ts'
import { DbPoolError } from '../errors.ts'
import { invalid } from '../options.ts'
import { BorrowedClient } from './borrowed-client.ts'
import { EnginePool } from './pg-pool.ts'

/**
 * What TypeORM takes for the module `pg`: `new DataSource({ type: 'postgres', driver: toTypeOrmDriver(db), entities })`. Where and how to
 * connect is the pool's affair: a DataSource that names a url, host, poolSize or the like besides is refused. Destroying the DataSource
 * leaves the pool open.
 */
export function toTypeOrmDriver(db: DbPool): object {
  const engine = engineOf(db)
  class TypeOrmPool extends EnginePool {
    constructor(options: Readonly<Record<string, unknown>> = {}) {
      const doubled = Object.keys(options).find((key) => options[key] !== undefined)
      if (doubled !== undefined) throw invalid(doubled, 'is decided by createDbPool: leave it out of the DataSource')
      super(engine)
    }
  }
  const { Client, Query, Connection, types, defaults, DatabaseError, TypeOverrides, escapeIdentifier, escapeLiteral } = pg as typeof pg & {
    Connection: unknown
  }
  return { Pool: TypeOrmPool, Client, Query, Connection, types, defaults, DatabaseError, TypeOverrides, escapeIdentifier, escapeLiteral }
}

/** What we need of TypeORM's EntityManager inside a transaction. */
export interface EntityManagerLike {
  readonly queryRunner?: object | undefined
}

interface QueryRunnerLike {
  readonly isTransactionActive: boolean
  readonly databaseConnection?: unknown
  query(text: string, values: readonly unknown[] | undefined, structured: true): Promise<{ records?: object[]; affected?: number | null }>
}

export interface EntityManagerTransaction {
  /** The shape of `pg`, where EntityManager.query gives bare rows, and for UPDATE and DELETE rows and number. */
  query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<Pick<QueryResult<R>, 'rows' | 'rowCount'>>
  /** Runs once the server has confirmed the COMMIT; never after a rollback, nor after that of the savepoint it was registered in. */
  afterCommit(run: () => void | Promise<void>): void
}

/** The transaction of an EntityManager for an outbox, an inbox or a cache: `outbox.add(fromEntityManager(manager), …)`. */
export function fromEntityManager(manager: EntityManagerLike): EntityManagerTransaction {
  const runner = manager.queryRunner as QueryRunnerLike | undefined
  if (runner === undefined) throw new DbPoolError('ERR_DB_POOL_TX_ENDED', 'the EntityManager is in no transaction')
  return {
    async query<R extends object = Record<string, unknown>>(text: string, values?: readonly unknown[]) {
      if (!runner.isTransactionActive) throw new DbPoolError('ERR_DB_POOL_TX_ENDED', 'the transaction of the EntityManager has ended')
      const { records = [], affected } = await runner.query(text, values, true)
      return { rows: records as R[], rowCount: affected ?? 0 }
    },
    afterCommit(run) {
      const client = runner.databaseConnection
      if (!(client instanceof BorrowedClient)) {
        throw new DbPoolError(
          'ERR_DB_POOL_NO_AFTER_COMMIT',
          'the DataSource does not run on toTypeOrmDriver, or its transaction has not begun',
        )
      }
      client.afterCommit(run)
    },
  }
}
