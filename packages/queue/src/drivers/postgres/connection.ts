import pg from 'pg'
import { QueueError } from '../../errors.ts'
import { revealCredential, type Credential } from '../../shapes.ts'
import type { ResolvedPostgresOptions } from './options.ts'

/** Longer than any statement of ours takes; a server that hangs frees the connection's user after it. */
const queryTimeoutMs = 30_000

export interface Rows<R> {
  rows: R[]
}

export interface Queryable {
  query<R = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Rows<R>>
}

export interface Transaction extends Queryable {
  /** Set from the moment COMMIT is sent: an error after it says nothing about the outcome. */
  committing: boolean
}

/** The driver's connections. */
export class Connections implements Queryable {
  readonly #options: ResolvedPostgresOptions
  readonly #applicationName: string
  readonly #pool: pg.Pool
  readonly #Client: typeof pg.Client
  /** Those that have not ended. */
  readonly #clients = new Set<pg.Client>()
  #ended: Promise<void> | undefined

  constructor(options: ResolvedPostgresOptions, applicationName: string, onIdleError: (error: Error) => void) {
    this.#options = options
    this.#applicationName = applicationName
    this.#Client = clientWith(options.password, (client) => {
      this.#clients.add(client)
      client.once('end', () => this.#clients.delete(client))
    })
    this.#pool = new pg.Pool({
      ...this.#config(),
      max: options.maxConnections,
      Client: this.#Client,
    })
    this.#pool.on('error', onIdleError)
  }

  async query<R = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    timeoutMs: number = queryTimeoutMs,
  ): Promise<Rows<R>> {
    return (await this.raw(text, values, timeoutMs)) as Rows<R>
  }

  /** pg's own answer, which for several statements at once is a list. */
  async raw(text: string, values?: readonly unknown[], timeoutMs: number = queryTimeoutMs): Promise<unknown> {
    return this.#pool.query({ text, values: values as unknown[], query_timeout: timeoutMs } as pg.QueryConfig)
  }

  async transaction<T>(work: (tx: Transaction) => Promise<T>, state: { committing: boolean }): Promise<T> {
    const client = await this.#pool.connect()
    let broken: Error | undefined
    const lost = (error: Error): void => {
      broken = error
    }
    client.on('error', lost)
    const run = async (text: string, values?: readonly unknown[]): Promise<Rows<never>> =>
      client.query({ text, values: values as unknown[], query_timeout: queryTimeoutMs } as pg.QueryConfig) as unknown as Rows<never>
    try {
      await run('begin')
      const result = await work({ query: run as Queryable['query'], committing: false })
      state.committing = true
      await run('commit')
      return result
    } catch (error) {
      if (broken === undefined) {
        await run('rollback').catch((failure: Error) => {
          broken = failure
        })
      }
      throw error
    } finally {
      client.off('error', lost)
      client.release(broken)
    }
  }

  /** A connection of its own for LISTEN; the caller ends it. */
  dedicated(): pg.Client {
    return new this.#Client(this.#config())
  }

  end(): Promise<void> {
    this.#ended ??= this.#pool.end()
    return this.#ended
  }

  /** Ends all of them at once, whoever waits for an answer: a server that does not answer would keep them, and the process with them. */
  cut(): void {
    this.end().catch(() => {})
    for (const client of this.#clients) streamOf(client).destroy()
  }

  #config(): pg.ClientConfig {
    return {
      connectionString: this.#options.url,
      application_name: this.#applicationName,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      connectionTimeoutMillis: 5_000,
    }
  }
}

/** pg shows its socket to its own classes only. */
function streamOf(client: pg.Client): { destroy(): void } {
  return (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream
}

/** pg lets the URL's password win over the option's, so it is set behind the parsing. */
function clientWith(password: Credential | undefined, made: (client: pg.Client) => void): typeof pg.Client {
  return class extends pg.Client {
    constructor(config?: string | pg.ClientConfig) {
      super(config)
      made(this)
      if (password === undefined) return
      Object.defineProperty(this, 'password', {
        configurable: true,
        enumerable: false,
        writable: true,
        value: () => revealCredential(password),
      })
    }
  }
}

const lostStates = /^(08|57P|53|25006)/

/** Nothing was stored and another try on another connection may succeed. */
export function isConnectionLoss(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  if (typeof code !== 'string') return true
  return !/^[0-9A-Z]{5}$/.test(code) || lostStates.test(code)
}

/** What a caller is told of a failure that is not tried again. */
export function typed(error: unknown, destination: string): QueueError {
  if (QueueError.isInstance(error)) return error
  return new QueueError(isConnectionLoss(error) ? 'ERR_QUEUE_UNAVAILABLE' : 'ERR_QUEUE_REFUSED', { destination, cause: error })
}

export function isConflict(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return code === '40001' || code === '40P01'
}
