/**
 * What a key of an ordered group has in hand in this process.
 *
 * | state     | entered when                                            | left when                                                     |
 * | idle      | nothing is in hand                                      | something waits: `offer`, or a release begins: `fetch`        |
 * | offered   | it has something to do and waits for a free handler     | `take`                                                        |
 * | handling  | a handler has the first message                         | `settled`, `postpone`, `block`                                |
 * | postponed | the handler failed; the message stays for its next try  | `again`                                                       |
 * | blocked   | the message could be settled nowhere and was given back | the same message arrives again                                |
 * | fetching  | what was parked is being fetched                        | `fetched`                                                     |
 *
 * Only one message of a key is ever out of `waiting`. A lost channel takes along all but what a handler still has: `reset`.
 */
export type LaneState<I> =
  | { readonly at: 'idle' | 'offered' | 'fetching' }
  | { readonly at: 'handling' | 'postponed'; readonly item: I }
  | { readonly at: 'blocked'; readonly id: string }

export class Lane<I extends { readonly id: string }> {
  readonly key: string
  #state: LaneState<I> = { at: 'idle' }
  #waiting: I[] = []

  constructor(key: string) {
    this.key = key
  }

  get state(): LaneState<I> {
    return this.#state
  }

  /** Nothing in hand and nothing to do: it can be forgotten. */
  get empty(): boolean {
    return this.#state.at === 'idle' && this.#waiting.length === 0
  }

  add(item: I): void {
    if (this.#state.at === 'blocked' && this.#state.id === item.id) {
      this.#waiting.unshift(item)
      this.#state = { at: 'idle' }
    } else this.#waiting.push(item)
  }

  /** True when it is to be queued for a handler. */
  offer(): boolean {
    if (this.#state.at !== 'idle' || this.#waiting.length === 0) return false
    this.#state = { at: 'offered' }
    return true
  }

  /** `undefined` when a lost channel has emptied it meanwhile. */
  take(): I | undefined {
    if (this.#state.at !== 'offered') return undefined
    const item = this.#waiting.shift()
    this.#state = item === undefined ? { at: 'idle' } : { at: 'handling', item }
    return item
  }

  settled(): void {
    this.#leave('handling')
    this.#state = { at: 'idle' }
  }

  postpone(item: I): void {
    this.#leave('handling')
    this.#state = { at: 'postponed', item }
  }

  /** The next try, in front of everything. False when the message is no longer ours to try. */
  again(item: I): boolean {
    if (this.#state.at !== 'postponed' || this.#state.item.id !== item.id) return false
    this.#waiting.unshift(item)
    this.#state = { at: 'idle' }
    return true
  }

  block(id: string): void {
    this.#leave('handling')
    this.#state = { at: 'blocked', id }
  }

  fetch(): void {
    this.#leave('idle', 'offered')
    this.#state = { at: 'fetching' }
  }

  fetched(items: readonly I[]): void {
    if (this.#state.at !== 'fetching') return
    this.#waiting.unshift(...items)
    this.#state = { at: 'idle' }
  }

  /** Takes out all that waits. */
  empties(): I[] {
    return this.#waiting.splice(0)
  }

  /** The channel is lost. Returns what had been in hand without a handler, or waited. */
  reset(): I[] {
    const waited = this.empties()
    if (this.#state.at === 'handling') return waited
    const postponed = this.#state.at === 'postponed' ? [this.#state.item] : []
    this.#state = { at: 'idle' }
    return [...postponed, ...waited]
  }

  #leave(...from: LaneState<I>['at'][]): void {
    if (!from.includes(this.#state.at)) throw new Error(`a lane that is ${this.#state.at} cannot leave ${from.join(' or ')}`)
  }
}
