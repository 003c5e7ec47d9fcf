/** How many handlers may run at once in a member of a group, whatever shards it works on. Who finds none free is woken when one is, in turn. */
export class Slots {
  #free: number
  readonly #waiting = new Set<() => void>()

  constructor(count: number) {
    this.#free = count
  }

  take(wake: () => void): boolean {
    if (this.#free === 0) {
      this.#waiting.add(wake)
      return false
    }
    this.#free -= 1
    return true
  }

  release(): void {
    this.#free += 1
    while (this.#free > 0) {
      const [wake] = this.#waiting
      if (wake === undefined) return
      this.#waiting.delete(wake)
      wake()
    }
  }
}
