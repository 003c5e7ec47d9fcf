import type pg from 'pg'
import type { ConnectionPool } from '../pool.ts'

/**
 * `pool.Client`, for those who open a connection of their own by it to cancel or end what runs on another (Kysely): one to the same server,
 * beside the pool, whatever options it is given.
 */
export function controlClientOf(engine: ConnectionPool): new () => ControlClient {
  return class extends ControlClient {
    constructor() {
      super(engine)
    }
  }
}

class ControlClient {
  readonly #engine: ConnectionPool
  #client: pg.Client | undefined

  constructor(engine: ConnectionPool) {
    this.#engine = engine
  }

  async connect(): Promise<void> {
    this.#client = await this.#engine.connect()
  }

  query(text: string, values?: unknown[]): Promise<pg.QueryResult> {
    if (this.#client === undefined) throw new Error('not connected')
    return this.#client.query(text, values)
  }

  async end(): Promise<void> {
    await this.#client?.end()
  }
}
