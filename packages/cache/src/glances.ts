import { orAborted } from '@platform/kernel'
import type { SharedRead } from './driver.ts'
import type { Generations, Pending } from './generations.ts'
import type { Layers } from './layers.ts'
import { livesLeft } from './lifetimes.ts'
import type { Ask } from './load.ts'
import type { LocalLayer } from './local-layer.ts'
import type { Asking, Sent } from './questions.ts'
import type { SharedLayer } from './shared-layer.ts'
import type { SharedValues } from './shared-values.ts'

/** A fresh entry of l2. */
export interface Hit {
  readonly value: unknown
  readonly freshMs: number
}

type Wish = Pick<Ask, 'lifetimes' | 'tags' | 'schema'>

const nothing: Promise<undefined> = Promise.resolve(undefined)

/** Plain look-ups in l2, without the wish to fill it: a hit needs no lease and no flight. */
export class Glances {
  readonly #shared: SharedLayer
  readonly #values: SharedValues
  readonly #layers: Layers
  readonly #closed = new AbortController()
  /** Those that have not been sent yet. */
  #unsent: { readonly sendings: number; readonly hits: Map<string, Promise<Hit | undefined>> } | undefined

  constructor(shared: SharedLayer, values: SharedValues, layers: Layers) {
    this.#shared = shared
    this.#values = values
    this.#layers = layers
  }

  /**
   * What is fresh in l2. Whoever asks for the key before the question is sent shares it, so that all of them may have the answer, whatever is
   * invalidated meanwhile. l1 gets it unless it was. Undefined: nothing fresh. Rejects when l2 does not answer.
   */
  at(key: string, wish: Wish): Promise<Hit | undefined> {
    const shared = this.#shared
    if (shared.delivery.covers(key)) return nothing
    if (wish.schema) return this.#ask(key, wish)
    const { sendings } = shared
    if (this.#unsent?.sendings !== sendings) this.#unsent = { sendings, hits: new Map() }
    const { hits } = this.#unsent
    const present = hits.get(key)
    if (present) return present
    const hit = this.#ask(key, wish)
    hits.set(key, hit)
    return hit
  }

  /** Who waits for the verdict of a schema waits no longer. */
  close(error: unknown): void {
    this.#closed.abort(error)
  }

  #ask(key: string, wish: Wish): Promise<Hit | undefined> {
    const { local, generations } = this.#layers
    const glance = new Glance(key, wish, this.#values, this.#closed.signal, local.keeps ? { local, generations } : undefined)
    this.#shared.ask(glance)
    return glance.hit
  }
}

class Glance implements Asking {
  readonly key: string
  readonly tags: readonly string[]
  readonly lease = undefined
  readonly #wish: Wish
  readonly #values: SharedValues
  readonly #closed: AbortSignal
  readonly #copy: { readonly local: LocalLayer; readonly generations: Generations; readonly pending: Pending } | undefined
  readonly #answer = Promise.withResolvers<Hit | undefined>()

  constructor(
    key: string,
    wish: Wish,
    values: SharedValues,
    closed: AbortSignal,
    layers: { readonly local: LocalLayer; readonly generations: Generations } | undefined,
  ) {
    this.key = key
    this.tags = wish.tags
    this.#wish = wish
    this.#values = values
    this.#closed = closed
    this.#copy = layers && { ...layers, pending: layers.generations.begin(key) }
  }

  get hit(): Promise<Hit | undefined> {
    return this.#answer.promise
  }

  said(read: SharedRead, sent: Sent): void {
    const value = read.freshMs > 0 ? this.#values.of(this.key, read, sent) : undefined
    const { schema } = this.#wish
    if (value === undefined || !schema) return this.#settle(value, read, sent)
    orAborted(this.#values.checked(this.key, value, schema), this.#closed).then(
      (fitting) => this.#settle(fitting, read, sent),
      (error: unknown) => this.failed(error),
    )
  }

  failed(error: unknown): void {
    this.#copy?.generations.end(this.#copy.pending)
    this.#answer.reject(error)
  }

  #settle(value: unknown, { freshMs, tags }: SharedRead, { at }: Sent): void {
    const copy = this.#copy
    if (copy) {
      const { local, generations, pending } = copy
      const lives = livesLeft(freshMs, this.#wish.lifetimes)
      if (value !== undefined) local.put(this.key, { pending, value, tags, shared: true, vouchedAt: at, confirmed: true, ...lives })
      generations.end(pending)
    }
    this.#answer.resolve(value === undefined ? undefined : { value, freshMs })
  }
}
