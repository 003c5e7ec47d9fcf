import type { ConsumeMessage } from 'amqplib'
import type { Envelope } from '../../envelope.ts'
import type { KeyState } from './key-log.ts'
import type { GivenBack, Tries } from './tries.ts'
import { earlierDeliveries, factsOf } from './wire.ts'

/** The largest prefetch. */
const mostSeen = 10_000

/** What is known of the tries of an ordered group's messages, and of which of them somebody else may have died. */
export class Suspicion {
  readonly #queue: string
  readonly #givenBack: GivenBack
  readonly #seen = new Set<string>()

  constructor(queue: string, givenBack: GivenBack) {
    this.#queue = queue
    this.#givenBack = givenBack
  }

  /** On a new channel. */
  begin(): void {
    this.#seen.clear()
  }

  /** Only the first of a key can have been begun by somebody else: those behind it wait for it everywhere. */
  judge(message: ConsumeMessage, envelope: Envelope | undefined, { tries, clean }: KeyState): { tries: Tries; suspect: boolean } {
    const { counted, shown } = factsOf(message)
    const first = envelope?.key === undefined || !this.#seen.has(envelope.key)
    if (envelope?.key !== undefined) this.#see(envelope.key)
    const deliveries = earlierDeliveries(message)
    const plain = { tries: { counted, shown }, suspect: false }
    if (deliveries === 0 || envelope === undefined) return plain
    const recalled = this.#givenBack.recall(this.#name(envelope.id), deliveries)
    if (recalled !== undefined) return { tries: recalled, suspect: false }
    const logged = tries.get(envelope.id)
    if (clean) return logged === undefined ? plain : { tries: logged, suspect: false }
    if (!first) return plain
    return { tries: logged ?? { counted, shown: shown + 1 }, suspect: true }
  }

  /** More keys than anybody holds: what comes of them now was held by nobody. */
  #see(key: string): void {
    if (this.#seen.size >= mostSeen) this.#seen.clear()
    this.#seen.add(key)
  }

  gaveBack(id: string, message: ConsumeMessage, tries: Tries, begun: boolean): void {
    const shown = tries.shown + (begun ? 1 : 0)
    this.#givenBack.remember(this.#name(id), earlierDeliveries(message), { counted: tries.counted, shown })
  }

  #name(id: string): string {
    return `${this.#queue} ${id}`
  }
}
