import { orAborted } from '@platform/kernel'
import type { Channel, ConsumeMessage } from 'amqplib'
import { isIdentifier } from '../../envelope.ts'
import { replyCode } from './faults.ts'
import type { Link } from './link.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { keyLog } from './names.ts'
import type { Tries } from './tries.ts'

type Entry =
  | { readonly op: 'park'; readonly key: string; readonly id: string }
  | { readonly op: 'unpark'; readonly key: string }
  /** A member has begun to work, or has ended with nothing in hand; what it acknowledged last may come again. */
  | { readonly op: 'own'; readonly id: string }
  | { readonly op: 'left'; readonly settled: readonly string[] }
  | ({ readonly op: 'try'; readonly id: string } & Tries)
  | { readonly op: 'done'; readonly id: string }
  /** All that came before, told by a member at work. */
  | { readonly op: 'snapshot'; readonly parked: readonly [string, string][]; readonly tries: readonly (Tries & { readonly id: string })[] }

export interface KeyState {
  /** Key to the id of the dead letter that it waits for. */
  readonly parked: Map<string, string>
  readonly tries: Map<string, Tries>
  /** Who worked before has left nothing half done. */
  clean: boolean
  /** Ids of what he acknowledged last. */
  settled: Set<string>
  entries: number
}

const appendTimeoutMs = 10_000
/** A look waits so long for the log's first entry, and, once at its last chunk, for one more. */
const firstEntryMs = 2_000
const quietMs = 150
/** The log is written anew when it is longer than this and more than ten times what it has to say. */
const compactAbove = 2_000
/** What it has to say is one message then, of a few megabytes at most. */
const mostCompacted = 10_000

/** A stream that remembers which keys of a group are parked, and by which dead letter: reading it takes nothing away. Written by the member at work. */
export class KeyLog {
  readonly #link: Link
  readonly #publisher: ConfirmPublisher
  readonly #stream: string

  constructor(link: Link, publisher: ConfirmPublisher, queue: string) {
    this.#link = link
    this.#publisher = publisher
    this.#stream = keyLog(queue)
  }

  park(key: string, id: string, signal: AbortSignal): Promise<void> {
    return this.#append({ op: 'park', key, id }, signal)
  }

  unpark(key: string, signal: AbortSignal): Promise<void> {
    return this.#append({ op: 'unpark', key }, signal)
  }

  /** Before a message runs alone, or stays half done. */
  tried(id: string, { counted, shown }: Tries, signal: AbortSignal): Promise<void> {
    return this.#append({ op: 'try', id, counted, shown }, signal)
  }

  done(id: string, signal: AbortSignal): Promise<void> {
    return this.#append({ op: 'done', id }, signal)
  }

  left(settled: readonly string[], signal: AbortSignal): Promise<void> {
    return this.#append({ op: 'left', settled }, signal)
  }

  /** Everything up to now, for the member that takes over. An entry of our own tells where now is. */
  async takeOver(signal: AbortSignal): Promise<KeyState> {
    await this.#finishCompaction(signal)
    const id = crypto.randomUUID()
    await this.#append({ op: 'own', id }, signal)
    const state = await this.#read(signal, (entry) => entry?.op === 'own' && entry.id === id)
    const left = state.parked.size + state.tries.size
    if (state.entries > compactAbove && state.entries > 10 * left && left <= mostCompacted) await this.#compact(state, signal)
    return state
  }

  /** Everything up to about now, for who only looks: writes nothing. */
  async peek(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const last = await this.#lastChunk(signal)
    if (last === undefined) return new Map()
    const { parked } = await this.#read(signal, undefined, last)
    return parked
  }

  /** Offset of the first entry of the last chunk; `undefined` when the log is empty. */
  #lastChunk(signal: AbortSignal): Promise<number | undefined> {
    return this.#follow('last', signal, (arrived, done) => {
      const timer = setTimeout(() => done(undefined), firstEntryMs)
      arrived((message) => {
        clearTimeout(timer)
        done(offsetOf(message))
      })
    })
  }

  #read(signal: AbortSignal, isEnd?: (entry: Entry | undefined) => boolean, lastChunk = 0): Promise<KeyState> {
    const state: KeyState = { parked: new Map(), tries: new Map(), clean: true, settled: new Set(), entries: 0 }
    return this.#follow('first', signal, (arrived, done) => {
      let quiet: NodeJS.Timeout | undefined
      arrived((message) => {
        clearTimeout(quiet)
        const entry = parseEntry(message.content)
        state.entries += 1
        if (isEnd?.(entry) === true) return done(state)
        if (entry !== undefined) apply(state, entry)
        if (isEnd === undefined && offsetOf(message) >= lastChunk) quiet = setTimeout(() => done(state), quietMs)
      })
    })
  }

  #follow<T>(
    offset: 'first' | 'last',
    signal: AbortSignal,
    begin: (arrived: (each: (message: ConsumeMessage) => void) => void, done: (result: T) => void) => void,
  ): Promise<T> {
    return this.#link.withChannel(
      (channel) =>
        new Promise<T>((resolve, reject) => {
          let each: (message: ConsumeMessage) => void = () => {}
          channel.once('close', () => reject(new Error('channel closed while the key log was read')))
          begin((handler) => {
            each = handler
          }, resolve)
          const follow = async (): Promise<void> => {
            await channel.prefetch(500)
            const options = { arguments: { 'x-stream-offset': offset } }
            await channel.consume(
              this.#stream,
              (message) => {
                if (message === null) return reject(new Error('the broker ended the reading of the key log'))
                channel.ack(message)
                each(message)
              },
              options,
            )
          }
          follow().catch(reject)
        }),
      signal,
    )
  }

  /** The sum goes to a queue first; only then is the stream made anew. A crash in between is finished by the next member. */
  async #compact(state: KeyState, signal: AbortSignal): Promise<void> {
    const tries = [...state.tries].map(([id, { counted, shown }]) => ({ id, counted, shown }))
    const sum: Entry = { op: 'snapshot', parked: [...state.parked], tries }
    await this.#link.withChannel(
      (channel) => channel.assertQueue(this.#sumQueue, { durable: true, arguments: { 'x-queue-type': 'quorum' } }),
      signal,
    )
    await this.#send(this.#sumQueue, sum, signal)
    await this.#finishCompaction(signal)
  }

  async #finishCompaction(signal: AbortSignal): Promise<void> {
    try {
      await this.#link.withChannel(async (channel) => {
        const sum = await channel.get(this.#sumQueue)
        if (sum !== false) await this.#replaceBy(sum.content, channel, signal)
        await channel.deleteQueue(this.#sumQueue)
      }, signal)
    } catch (error) {
      if (replyCode(error) !== 404) throw error
    }
  }

  async #replaceBy(sum: Buffer, channel: Channel, signal: AbortSignal): Promise<void> {
    await channel.deleteQueue(this.#stream)
    await channel.assertQueue(this.#stream, { durable: true, arguments: { 'x-queue-type': 'stream' } })
    const entry = parseEntry(sum)
    if (entry !== undefined) await this.#append(entry, signal)
  }

  get #sumQueue(): string {
    return `${this.#stream}/sum`
  }

  #append(entry: Entry, signal: AbortSignal): Promise<void> {
    return this.#send(this.#stream, entry, signal)
  }

  async #send(queue: string, entry: Entry, signal: AbortSignal): Promise<void> {
    const message = { content: Buffer.from(JSON.stringify(entry)), options: { persistent: true } }
    const bound = AbortSignal.any([signal, AbortSignal.timeout(appendTimeoutMs)])
    await orAborted(this.#publisher.send({ exchange: '', routingKey: queue }, message, { mandatory: true, signal: bound }), bound)
  }
}

function apply(state: KeyState, entry: Entry): void {
  if (entry.op === 'park') state.parked.set(entry.key, entry.id)
  else if (entry.op === 'unpark') state.parked.delete(entry.key)
  else if (entry.op === 'try') state.tries.set(entry.id, entry)
  else if (entry.op === 'done') state.tries.delete(entry.id)
  else if (entry.op === 'own') begun(state)
  else if (entry.op === 'left') {
    state.clean = true
    state.settled = new Set(entry.settled)
  } else {
    begun(state)
    for (const [key, id] of entry.parked) state.parked.set(key, id)
    for (const { id, counted, shown } of entry.tries) state.tries.set(id, { counted, shown })
  }
}

function begun(state: KeyState): void {
  state.clean = false
  state.settled = new Set()
}

function offsetOf(message: ConsumeMessage): number {
  const offset: unknown = message.properties.headers?.['x-stream-offset']
  return typeof offset === 'number' ? offset : 0
}

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

function isTries(value: unknown): value is Tries & { id: string } {
  const { id, counted, shown } = (value ?? {}) as Record<string, unknown>
  return isIdentifier(id) && isCount(counted) && isCount(shown)
}

/** What is no entry of ours is passed over. */
function parseEntry(content: Buffer): Entry | undefined {
  let value: unknown
  try {
    value = JSON.parse(content.toString())
  } catch {
    return undefined
  }
  const { op, key, id, parked, tries, settled } = (value ?? {}) as Record<string, unknown>
  if (op === 'park' && isIdentifier(key) && isIdentifier(id)) return { op, key, id }
  if (op === 'unpark' && isIdentifier(key)) return { op, key }
  if ((op === 'own' || op === 'done') && isIdentifier(id)) return { op, id }
  if (op === 'left') return { op, settled: Array.isArray(settled) ? settled.filter(isIdentifier) : [] }
  if (op === 'try' && isTries(value)) return { op, id: value.id, counted: value.counted, shown: value.shown }
  if (op === 'snapshot' && Array.isArray(parked) && Array.isArray(tries)) {
    const pairs = parked.filter((pair): pair is [string, string] => Array.isArray(pair) && isIdentifier(pair[0]) && isIdentifier(pair[1]))
    return { op, parked: pairs, tries: tries.filter(isTries) }
  }
  return undefined
}
