import type pg from 'pg'
import { serverLife } from './commit-outcome.ts'
import type { Hosts, Role } from './hosts.ts'
import type { ResolvedDbPoolOptions } from './options.ts'
import type { Session } from './session.ts'

interface Facts {
  readonly pid: number
  readonly life: string | null
  readonly connections: number
}

const question = `select pg_catalog.pg_backend_pid() as pid, ${serverLife} as life,
  pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int as connections`
const roleQuestion = `select pg_catalog.pg_is_in_recovery() as standby,
  (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system,
  case when pg_catalog.pg_is_in_recovery() then null
    else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end as timeline`

/** What a new connection is asked once: who serves it, so that we know a pooler when we meet one. The first is asked for the server's limits too. */
export class Acquaintance {
  readonly #options: ResolvedDbPoolOptions
  readonly #hosts: Hosts
  #told = false

  constructor(options: ResolvedDbPoolOptions, hosts: Hosts) {
    this.#options = options
    this.#hosts = hosts
  }

  async make(session: Session): Promise<void> {
    if (this.#hosts.several) await this.checkRole(session.client, session.url)
    const { pooler } = this.#options
    if (pooler !== 'none' && this.#told) return
    let facts: Facts | undefined
    try {
      facts = (await session.query<Facts & Record<string, unknown>>(question)).rows[0]
    } catch (error) {
      // A server of another kind need not know all this.
      if (session.failure !== undefined) throw error
    }
    if (facts === undefined) return
    if (!this.#told) this.#tell(facts, session.pid)
    if (pooler !== 'none') return
    session.pid = facts.pid
    session.serverLife = facts.life ?? undefined
  }

  /** One of several servers: rejects unless it is the writer. */
  async checkRole(client: pg.Client, url: string): Promise<void> {
    const { rows } = await client.query<Role>(roleQuestion)
    this.#hosts.mustBeWriter(url, rows[0] as Role)
  }

  #tell({ pid, connections }: Facts, announced: number): void {
    this.#told = true
    const { pooler, maxSize, instances, logger } = this.#options
    if (pid !== announced && pooler === 'none') {
      logger.warn({}, "a pooler stands before the server: if it is in transaction mode, set pooler: 'transaction'")
    }
    if (pid === announced && pooler === 'transaction') {
      logger.warn(
        {},
        "no pooler stands before the server, although pooler: 'transaction' is set: the server's own time limits are not used",
      )
    }
    if (maxSize * instances > connections) {
      logger.warn({ maxSize, instances, connections }, 'the pools together may ask for more connections than the server has')
    }
  }
}
