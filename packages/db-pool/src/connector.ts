import { orAborted } from '@platform/kernel'
import type pg from 'pg'
import { Acquaintance } from './acquaintance.ts'
import { Backends } from './backends.ts'
import { connectTo, withinTime } from './connect.ts'
import { DbPoolError } from './errors.ts'
import { Hosts } from './hosts.ts'
import type { Credential, ResolvedDbPoolOptions } from './options.ts'
import { prepare } from './return.ts'
import { Session } from './session.ts'

/**
 * Makes connections to the server that is meant, each within `connectTimeoutMs`: the whole way, from the password to the last answer of a
 * session that is ready to be lent.
 */
export class Connector {
  readonly hosts: Hosts
  /** What connections prove themselves by from now on. */
  credential: Credential | undefined
  readonly #options: ResolvedDbPoolOptions
  readonly #acquaintance: Acquaintance
  readonly #onLoss: (session: Session, error: Error) => void
  readonly #backends = new Map<string, Backends>()
  /** Bare connections, and where they lead. */
  readonly #bareClients = new Map<pg.Client, string>()

  constructor(options: ResolvedDbPoolOptions, onWriter: (url: string) => void, onLoss: (session: Session, error: Error) => void) {
    this.#options = options
    this.credential = options.password
    this.#onLoss = onLoss
    this.hosts = new Hosts(options.urls, (url) => {
      this.#leaveOthers(url)
      onWriter(url)
    })
    this.#acquaintance = new Acquaintance(options, this.hosts)
  }

  /** Known to the server, checked and prepared by the user's hook. */
  session(epoch: number, signal?: AbortSignal, credential: Credential | undefined = this.credential): Promise<Session> {
    const unwanted = (session: Session): void => void session.end()
    return withinTime(this.#options.connectTimeoutMs, signal, (within) =>
      this.hosts.connect((url, either) => this.#open(url, epoch, either, credential), unwanted, within),
    )
  }

  /** A bare connection to the writer, beside the pool: for `listen` and for questions about others. */
  client(signal?: AbortSignal): Promise<pg.Client> {
    const unwanted = (client: pg.Client): void => void client.end().catch(() => {})
    return withinTime(this.#options.connectTimeoutMs, signal, (within) =>
      this.hosts.connect((url, either) => this.#bare(url, either), unwanted, within),
    )
  }

  /** Who tells of our connections to one server, whatever its role. */
  backendsOf(url: string): Backends {
    const known = this.#backends.get(url) ?? new Backends(() => this.#aside(url), this.#options.connectTimeoutMs)
    this.#backends.set(url, known)
    return known
  }

  #aside(url: string): Promise<pg.Client> {
    const { applicationName } = this.#options
    const options = applicationName === undefined ? this.#options : { ...this.#options, applicationName: `${applicationName} aside` }
    return withinTime(options.connectTimeoutMs, undefined, (within) => connectTo(url, options, this.credential, within, (made) => made))
  }

  async #open(url: string, epoch: number, signal: AbortSignal, credential: Credential | undefined): Promise<Session> {
    const session = await connectTo(url, this.#options, credential, signal, (client) => this.#newSession(client, url, epoch))
    try {
      await orAborted(this.#acquaintance.make(session), signal)
      await orAborted(prepare(session, this.#options), signal)
      return session
    } catch (error) {
      await session.kill(new DbPoolError('ERR_DB_POOL_RELEASED', 'the connection could not be prepared', { cause: error }))
      throw error
    }
  }

  async #bare(url: string, signal: AbortSignal): Promise<pg.Client> {
    const client = await connectTo(url, this.#options, this.credential, signal, (made) => made)
    if (!this.hosts.several) return client
    try {
      await orAborted(this.#acquaintance.checkRole(client, url), signal)
      this.#bareClients.set(client, url)
      client.once('end', () => this.#bareClients.delete(client))
      return client
    } catch (error) {
      client.connection.stream.destroy()
      throw error
    }
  }

  /** Whoever listens on a former writer, which may live on, would hear nothing any more. */
  #leaveOthers(writer: string): void {
    for (const [client, url] of this.#bareClients) if (url !== writer) client.connection.stream.destroy()
  }

  #newSession(client: pg.Client, url: string, epoch: number): Session {
    const { maxLifetimeMs, preparedStatements } = this.#options
    const openedAt = performance.now()
    const expiresAt = openedAt + maxLifetimeMs * (0.8 + Math.random() * 0.4)
    return new Session(client, { url, epoch, openedAt, expiresAt, preparedStatements }, this.#onLoss)
  }
}
