import { randomUUID } from 'node:crypto'
import type { Delivery } from './delivery.ts'
import type { Layers } from './layers.ts'
import { limited } from './limited.ts'
import type { Writes } from './writes.ts'

/** The nearest place that a call may be answered from. `l1`: as usual. `l2`: past the copies and loads of this process. `source`: by the factory alone. */
export type Nearest = 'l1' | 'l2' | 'source'

/**
 * `1.<told>.<process>`. Told is the number of the process's message by which the others have heard of its invalidations, or the nearest place that has
 * them where none will say so. The process comes last and has its full length: a token that was cut off is none.
 */
const form = /^1\.(?:(?<number>\d{1,16})|(?<nearest>l2|source))\.(?<id>[\da-f-]{36})$/

/** Tokens that stand for what was invalidated in one process, for calls in another one that must not get what was read before. */
export class Tokens {
  readonly #layers: Layers
  readonly #writes: Writes
  readonly #timeoutMs: number
  readonly #id: string

  constructor(layers: Layers, writes: Writes, timeoutMs: number) {
    this.#layers = layers
    this.#writes = writes
    this.#timeoutMs = timeoutMs
    this.#id = layers.coherence?.id ?? randomUUID()
  }

  async take(): Promise<string> {
    return `1.${await this.#told()}.${this.#id}`
  }

  /** Of several tokens the most demanding counts. Anything may come in here: what is no token is taken for the most demanding one. */
  nearest(after: string | readonly string[]): Nearest {
    if (!Array.isArray(after)) return this.#nearest(after)
    const all = after.map((token) => this.#nearest(token))
    return all.find((each) => each === 'source') ?? all.find((each) => each === 'l2') ?? 'l1'
  }

  #nearest(token: unknown): Nearest {
    const { shared, coherence } = this.#layers
    const groups = typeof token === 'string' ? form.exec(token)?.groups : undefined
    if (!groups) return 'source'
    const { number, nearest, id = '' } = groups
    // What was invalidated here counts here, whoever else has heard of it.
    if (id === this.#id) return 'l1'
    if (number !== undefined && coherence?.hasHeard(id, Number(number))) return 'l1'
    return shared && nearest !== 'source' ? 'l2' : 'source'
  }

  /** What is under way is waited for: then the others need not go further than they must. */
  async #told(): Promise<number | 'l2' | 'source'> {
    const { shared, coherence } = this.#layers
    const until = performance.now() + this.#timeoutMs
    const within = <T>(work: Promise<T>): Promise<T | undefined> =>
      limited(work, Math.max(0, until - performance.now())).catch(() => undefined)
    const taken = async (delivery: Delivery): Promise<boolean> => (await within(delivery.takesAll())) === true
    const handedIn = (await within(this.#writes.idle().then(() => true))) === true
    if (!shared && !coherence) return 'source'
    if (!handedIn || (shared && !(await taken(shared.delivery)))) return 'source'
    if (coherence && (await taken(coherence.delivery))) return coherence.acknowledged
    return shared ? 'l2' : 'source'
  }
}
