import type { Link } from './link.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { keyLog } from './topology.ts'

type Entry =
  | { readonly op: 'park'; readonly key: string; readonly id: string }
  | { readonly op: 'unpark'; readonly key: string }
  | { readonly op: 'mark'; readonly id: string }

/** A stream that remembers which keys of a group are parked, and by which dead letter: reading it takes nothing away. */
export class KeyLog {
  readonly #link: Link
  readonly #publisher: ConfirmPublisher
  readonly #stream: string

  constructor(link: Link, publisher: ConfirmPublisher, queue: string) {
    this.#link = link
    this.#publisher = publisher
    this.#stream = keyLog(queue)
  }

  async park(key: string, id: string, signal: AbortSignal): Promise<void> {
    await this.#append({ op: 'park', key, id }, signal)
  }

  async unpark(key: string, signal: AbortSignal): Promise<void> {
    await this.#append({ op: 'unpark', key }, signal)
  }

  /** Everything up to now, as key → id of the dead letter. A mark of our own tells where now is. */
  async read(signal: AbortSignal): Promise<Map<string, string>> {
    const mark = crypto.randomUUID()
    await this.#append({ op: 'mark', id: mark }, signal)
    return this.#link.withChannel(
      (channel) =>
        new Promise<Map<string, string>>((resolve, reject) => {
          const parked = new Map<string, string>()
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
          channel.once('close', () => reject(new Error('channel closed while the key log was read')))
          const follow = async (): Promise<void> => {
            await channel.prefetch(500)
            await channel.consume(
              this.#stream,
              (message) => {
                if (message === null) return reject(new Error('the broker ended the reading of the key log'))
                channel.ack(message)
                const entry = JSON.parse(message.content.toString()) as Entry
                if (entry.op === 'park') parked.set(entry.key, entry.id)
                else if (entry.op === 'unpark') parked.delete(entry.key)
                else if (entry.id === mark) resolve(parked)
              },
              { arguments: { 'x-stream-offset': 'first' } },
            )
          }
          follow().catch(reject)
        }),
    )
  }

  async #append(entry: Entry, signal: AbortSignal): Promise<void> {
    const message = { content: Buffer.from(JSON.stringify(entry)), options: { persistent: true } }
    await this.#publisher.send({ exchange: '', routingKey: this.#stream }, message, { mandatory: true, signal })
  }
}
