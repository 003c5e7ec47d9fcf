import type { Envelope } from '../../envelope.ts'
import { layoutsOf } from './group.ts'
import { KeyLog } from './key-log.ts'
import type { Link } from './link.ts'
import { groupName, keyLog } from './names.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { shardOf, shardQueue } from './shards.ts'
import { queueCounts } from './topology.ts'

export interface Waiting {
  readonly parked: { readonly key: string; readonly id: string }
  /** Of the shard where the key's messages wait. */
  readonly queue: string
}

interface Group {
  readonly destination: string
  readonly group: string
}

/** Which keys of a group wait for a dead letter, for who only looks: of each shard the log is read when it is first asked for. */
export class ParkedKeys {
  readonly #group: Group
  readonly #layouts: readonly number[]
  readonly #look: (queue: string) => Promise<ReadonlyMap<string, string>>
  readonly #looks = new Map<string, Promise<ReadonlyMap<string, string>>>()

  private constructor(group: Group, layouts: readonly number[], look: (queue: string) => Promise<ReadonlyMap<string, string>>) {
    this.#group = group
    this.#layouts = layouts
    this.#look = look
  }

  static async of(link: Link, publisher: ConfirmPublisher, group: Group, signal: AbortSignal): Promise<ParkedKeys> {
    const layouts = await layoutsOf(link, group.destination, group.group, signal)
    const none: ReadonlyMap<string, string> = new Map()
    return new ParkedKeys(group, layouts, async (queue) => {
      const there = await queueCounts(link, keyLog(queue), signal)
      return there === undefined ? none : new KeyLog(link, publisher, queue).peek(signal)
    })
  }

  /** While the number of shards is being changed a key may be parked in the old ones. */
  async find(key: string): Promise<Waiting | undefined> {
    for (const queue of this.#layouts.map((shards) => this.#queueOf(key, shards))) {
      let look = this.#looks.get(queue)
      if (look === undefined) this.#looks.set(queue, (look = this.#look(queue)))
      const id = (await look).get(key)
      if (id !== undefined) return { parked: { key, id }, queue }
    }
    return undefined
  }

  /** When its key waits for this very message. */
  async waitsFor(message: Envelope | undefined): Promise<Waiting | undefined> {
    const waiting = message?.key === undefined ? undefined : await this.find(message.key)
    return waiting?.parked.id === message?.id ? waiting : undefined
  }

  /** The queue where a message of the group belongs. */
  home(message: Envelope | undefined): string {
    const shards = this.#layouts[0]
    if (shards === undefined) return groupName(this.#group.destination, this.#group.group)
    return this.#queueOf(message?.key ?? message?.id ?? '', shards)
  }

  #queueOf(key: string, shards: number): string {
    return shardQueue(this.#group.destination, this.#group.group, shards, shardOf(key, shards))
  }
}
