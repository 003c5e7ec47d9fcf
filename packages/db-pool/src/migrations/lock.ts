import { createHash } from 'node:crypto'
import { pause } from '@platform/kernel'
import type { Connection } from '../connection.ts'
import { DbPoolError } from '../errors.ts'
import type { LoggerLike } from '../options.ts'
import type { Tables } from './history.ts'

const pollMs = { min: 50, max: 250 }
const tellMs = 10_000

interface WaitOptions {
  readonly waitTimeoutMs: number
  readonly logger: LoggerLike
  readonly signal: AbortSignal | undefined
}

/** Processes that migrate the same tables take turns on an advisory lock of the session. */
export class MigrationLock {
  readonly #connection: Connection
  readonly #key: bigint

  private constructor(connection: Connection, key: bigint) {
    this.#connection = connection
    this.#key = key
  }

  static async of(connection: Connection, { migrations }: Tables): Promise<MigrationLock> {
    const { rows } = await connection.query<{ name: string }>('select pg_catalog.current_database()::text as name')
    const key = createHash('sha256').update(`@platform/db-pool ${rows[0]?.name}.${migrations}`).digest().readBigInt64BE()
    return new MigrationLock(connection, key)
  }

  /** Polls instead of waiting in the server: a waiting statement would hold a snapshot, and CREATE INDEX CONCURRENTLY waits for those. */
  async acquire({ waitTimeoutMs, logger, signal }: WaitOptions): Promise<void> {
    const since = performance.now()
    for (let toldAt = Number.NEGATIVE_INFINITY; ; ) {
      const { rows } = await this.#connection.query<{ locked: boolean }>('select pg_catalog.pg_try_advisory_lock($1::bigint) as locked', [
        this.#key.toString(),
      ])
      if (rows[0]?.locked) return
      const now = performance.now()
      if (now - toldAt > tellMs) {
        toldAt = now
        logger.info({ waitedMs: Math.round(now - since), holder: await this.#holder() }, 'another process migrates: waiting for it')
      }
      if (now - since > waitTimeoutMs) {
        const holder = await this.#holder()
        throw new DbPoolError(
          'ERR_DB_POOL_MIGRATION_LOCKED',
          `another process still migrates after ${waitTimeoutMs} ms: server process ${holder?.pid ?? 'unknown'}, application ${JSON.stringify(holder?.application ?? '')}`,
          { waitedMs: Math.round(now - since) },
        )
      }
      await pause(pollMs.min + Math.random() * (pollMs.max - pollMs.min), signal)
    }
  }

  /** A file may have let go of it. */
  async isHeld(): Promise<boolean> {
    const { rows } = await this.#connection.query<{ held: boolean }>(
      `select exists (${holders} and l.pid = pg_backend_pid()) as held`,
      this.#parts(),
    )
    return rows[0]?.held === true
  }

  async release(): Promise<void> {
    await this.#connection.query('select pg_catalog.pg_advisory_unlock($1::bigint)', [this.#key.toString()])
  }

  async #holder(): Promise<{ pid: number; application: string } | undefined> {
    const { rows } = await this.#connection.query<{ pid: number; application: string; address: string; since: Date }>(
      holders,
      this.#parts(),
    )
    return rows[0]
  }

  #parts(): string[] {
    const bits = BigInt.asUintN(64, this.#key)
    return [(bits >> 32n).toString(), (bits & 0xffff_ffffn).toString()]
  }
}

const holders = `select l.pid, a.application_name as application, a.client_addr::text as address, a.backend_start as since
  from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.granted and l.classid = $1::bigint and l.objid = $2::bigint and l.objsubid = 1
    and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())`
