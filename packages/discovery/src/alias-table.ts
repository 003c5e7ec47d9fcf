/** Draws an index in proportion to its weight in constant time. Source: Vose, "A linear algorithm for generating random numbers", 1991. */
export class AliasTable {
  readonly #keep: Float64Array
  readonly #alias: Uint32Array

  /** None of the weights is negative, and one is above 0. */
  constructor(weights: readonly number[]) {
    const { length } = weights
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    this.#keep = new Float64Array(length).fill(1)
    this.#alias = new Uint32Array(length)
    const scaled = weights.map((weight) => (weight * length) / total)
    const small: number[] = []
    const large: number[] = []
    scaled.forEach((weight, index) => (weight < 1 ? small : large).push(index))
    while (small.length > 0 && large.length > 0) {
      const less = small.pop()!
      const more = large.at(-1)!
      this.#keep[less] = scaled[less]!
      this.#alias[less] = more
      scaled[more] = scaled[more]! - (1 - scaled[less]!)
      if (scaled[more] < 1) small.push(large.pop()!)
    }
  }

  /** `at` is from 0 up to 1. */
  draw(at: number): number {
    const place = at * this.#keep.length
    const index = Math.floor(place)
    return place - index < this.#keep[index]! ? index : this.#alias[index]!
  }
}
