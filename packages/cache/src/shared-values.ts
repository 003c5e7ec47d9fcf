import { decode } from './codec.ts'
import type { SharedRead } from './driver.ts'
import type { Journal } from './journal.ts'
import type { LocalLayer } from './local-layer.ts'
import type { ResolvedCacheOptions } from './options.ts'
import type { Sent } from './questions.ts'
import { fits, type SchemaLike } from './schema.ts'
import type { SharedLayer } from './shared-layer.ts'

/** The values in answers of l2. An entry that is not what it should be counts as absent, is removed and counted. */
export class SharedValues {
  readonly #shared: SharedLayer
  readonly #options: ResolvedCacheOptions
  readonly #local: LocalLayer
  readonly #journal: Journal

  constructor(shared: SharedLayer, options: ResolvedCacheOptions, local: LocalLayer, journal: Journal) {
    this.#shared = shared
    this.#options = options
    this.#local = local
    this.#journal = journal
  }

  /** Undefined: nothing that counts. */
  of(key: string, { body, tags }: SharedRead, { pending }: Sent): unknown {
    if (body === undefined || (tags.length > 0 && this.#mayPredate(tags, pending))) return undefined
    try {
      return this.#local.own(decode(this.#options.serializer, body))
    } catch (err) {
      return this.#refuse(key, err)
    }
  }

  /** The value if it fits; undefined when it does not, or when there is no verdict in time. */
  async checked(key: string, value: unknown, schema: SchemaLike): Promise<unknown> {
    try {
      await fits(schema, value, this.#options.l2HardTimeoutMs)
      return value
    } catch (err) {
      return this.#refuse(key, err)
    }
  }

  #mayPredate(tags: readonly string[], pending: Sent['pending']): boolean {
    return tags.some((tag) => this.#shared.delivery.mayPredate(pending, tag))
  }

  #refuse(key: string, err: unknown): undefined {
    // Its message may quote the value.
    const reason = err instanceof Error ? err.name : typeof err
    this.#journal.fault('l2', 'an entry of l2 could not be read and is removed', { reason })
    this.#shared.discard(key)
  }
}
