/**
 * Numbers the turns of the event loop, counted only while somebody asks. Two requests of one turn cannot differ in what they have heard from other
 * processes; one of a later turn may know of an invalidation that an answer asked for before has not seen.
 */
export class Turns {
  #turn = 0
  #counting = false

  get now(): number {
    if (!this.#counting) {
      this.#counting = true
      setImmediate(() => {
        this.#counting = false
        this.#turn++
      })
    }
    return this.#turn
  }
}
