import { settlesWithin } from '@platform/kernel'
import { DbPoolError, refusesForGood, sqlState } from './errors.ts'

/** How long a search waits for the other servers once one has said that it is the writer. */
const othersMs = 100

/** What a server says of its role. */
export interface Role {
  readonly standby: boolean
  /** Which database cluster; a standby has that of its primary. Null where the server does not say. */
  readonly system: string | null
  /** Counted up by each promotion. */
  readonly timeline: number | null
}

/**
 * The servers of one URL, of which one is the writer. As long as it is known it alone is asked. After a loss all are asked at once, so that
 * one that is silent holds nobody up, and the first that is the writer is taken.
 */
export class Hosts {
  readonly urls: readonly string[]
  readonly #onWriter: (url: string) => void
  /** The newest timeline of each system. */
  readonly #newest = new Map<string, number>()
  readonly #roles = new Map<string, Role>()
  #writer: string | undefined

  /** `onWriter`: another one than before is the writer. */
  constructor(urls: readonly string[], onWriter: (url: string) => void) {
    this.urls = urls
    this.#onWriter = onWriter
    this.#writer = urls.length === 1 ? urls[0] : undefined
  }

  /** Not the writer any more. */
  isFormer(url: string): boolean {
    return this.#writer !== undefined && this.#writer !== url
  }

  /** Several: each must say what it is. */
  get several(): boolean {
    return this.urls.length > 1
  }

  /** The next connection looks at all of them. */
  lookAgain(): void {
    if (this.several) this.#writer = undefined
  }

  /** Throws unless this is the writer, by the server's own words. */
  mustBeWriter(url: string, role: Role): void {
    const { standby, system, timeline } = role
    this.#roles.set(url, role)
    if (standby) throw new Error(`${hostOf(url)} is a standby`)
    if (system === null || timeline === null) return
    const newest = this.#newest.get(system) ?? timeline
    // One that was replaced and has come back: what is written there is lost.
    if (timeline < newest) throw new Error(`${hostOf(url)} is a former primary, on timeline ${timeline} after ${newest}`)
    this.#newest.set(system, timeline)
  }

  /** A connection to the writer. `connect` makes one to the server that it is given and rejects unless that is the writer. */
  async connect<T>(connect: (url: string, signal: AbortSignal) => Promise<T>, end: (unwanted: T) => void, signal: AbortSignal): Promise<T> {
    const known = this.#writer
    if (known === undefined) return this.#search(connect, end, signal)
    try {
      return await connect(known, signal)
    } catch (error) {
      // One that refuses is there; one that starts or stops may be replaced by now.
      if (sqlState(error)?.startsWith('57') ?? true) this.lookAgain()
      throw error
    }
  }

  async #search<T>(connect: (url: string, signal: AbortSignal) => Promise<T>, end: (unwanted: T) => void, signal: AbortSignal): Promise<T> {
    const found = new AbortController()
    const either = AbortSignal.any([signal, found.signal])
    const writers: { readonly url: string; readonly connection: T }[] = []
    let chosen: T | undefined
    const attempts = this.urls.map(async (url) => {
      const connection = await connect(url, either)
      writers.push({ url, connection })
    })
    const all = Promise.allSettled(attempts)
    try {
      await Promise.any(attempts)
      // A former primary that nobody stopped may be the first to answer.
      await settlesWithin(all, othersMs)
      signal.throwIfAborted()
      const { url, connection } = writers.find((writer) => this.#isNewest(writer.url)) ?? (writers[0] as (typeof writers)[number])
      chosen = connection
      this.#writer = url
      this.#onWriter(url)
      return connection
    } catch (error) {
      signal.throwIfAborted()
      throw noWriter(this.urls, (error as AggregateError).errors)
    } finally {
      found.abort(new Error('another host is the writer'))
      void all.then(() => {
        for (const { connection } of writers) if (connection !== chosen) end(connection)
      })
    }
  }

  #isNewest(url: string): boolean {
    const role = this.#roles.get(url)
    return role === undefined || role.system === null || role.timeline === this.#newest.get(role.system)
  }
}

/** Without what proves who we are. */
export function hostOf(url: string): string {
  const { hostname, port } = new URL(url)
  return `${hostname || 'localhost'}:${port || 5432}`
}

function noWriter(urls: readonly string[], errors: readonly unknown[]): Error {
  // Refused by all: one's own fault rather than theirs.
  if (errors.every(refusesForGood)) return errors[0] as Error
  const each = urls.map((url, index) => `${hostOf(url)}: ${(errors[index] as Error).message || (errors[index] as { code?: string }).code}`)
  return new DbPoolError('ERR_DB_POOL_CONNECT', `none of the hosts is a writer that lets us in (${each.join('; ')})`, {
    cause: errors.find((error) => !refusesForGood(error)),
  })
}
