/**
 * Reading a setting is what happens most. An accessor of a class is inlined, one of an object literal is not; and while there was no change
 * yet, nobody can be pinned to something else.
 */
export class Current<T> {
  #value: T | undefined
  #isFixed: boolean
  readonly #ask: () => T

  constructor(value: T | undefined, ask: () => T) {
    this.#value = value
    this.#isFixed = value !== undefined
    this.#ask = ask
  }

  get current(): T {
    return this.#isFixed ? (this.#value as T) : this.#ask()
  }

  /** From now on the answer depends on who asks. */
  ask(): void {
    this.#isFixed = false
    this.#value = undefined
  }
}
