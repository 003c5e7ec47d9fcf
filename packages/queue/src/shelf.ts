/**
 * Keeps what comes and goes by the thousand a second. A Set or Map does not do here: whenever it is tidied, the engine leaves its former table
 * behind, and all that stands in that one, bodies of messages included, lives on until the next full garbage collection.
 */
export class Shelf<T extends object> implements Iterable<T> {
  readonly #places: (T | undefined)[] = []
  readonly #free: number[] = []

  get size(): number {
    return this.#places.length - this.#free.length
  }

  /** Returns the place to take it from. */
  put(item: T): number {
    const place = this.#free.pop() ?? this.#places.length
    this.#places[place] = item
    return place
  }

  get(place: number): T | undefined {
    return this.#places[place]
  }

  /** False when it is not there any more. */
  take(place: number, item: T): boolean {
    if (this.#places[place] !== item) return false
    this.#places[place] = undefined
    this.#free.push(place)
    return true
  }

  /** Takes out everything; in no particular order. */
  clear(): T[] {
    const items = [...this]
    this.#places.length = 0
    this.#free.length = 0
    return items
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const item of this.#places) if (item !== undefined) yield item
  }
}
