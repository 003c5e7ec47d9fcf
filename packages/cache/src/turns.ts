/**
 * Numbers what happens here between one question to the outside (to l2, or by a factory to its source) and the next. Who came before a question was
 * sent may have its answer; who came after it may have heard of something that the answer has not seen.
 */
export class Turns {
  #turn = 0

  get now(): number {
    return this.#turn
  }

  /** A question is sent: whoever comes from here on belongs to the next turn. Returns the one that ends. */
  end(): number {
    return this.#turn++
  }
}
