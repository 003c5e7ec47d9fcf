/** How often a message was tried before. */
export interface Tries {
  /** Failed, or ended their process while the message ran alone: compared with `maxAttempts`. */
  readonly counted: number
  /** Began, as far as anybody knows: what the handler is told. */
  readonly shown: number
}

const mostRemembered = 10_000

/**
 * What this process knows of messages that went back to the broker. The broker's own count says how often a copy was handed out, not
 * whether a handler began: a message that comes back to who gave it back is known; one that somebody else held is not.
 */
export class GivenBack {
  readonly #known = new Map<string, Tries & { readonly deliveries: number }>()

  remember(id: string, deliveries: number, tries: Tries): void {
    this.#known.delete(id)
    this.#known.set(id, { counted: tries.counted, shown: tries.shown, deliveries })
    if (this.#known.size > mostRemembered) for (const oldest of this.#known.keys()) return void this.#known.delete(oldest)
  }

  /** `undefined` when the copy was handed out elsewhere in between. */
  recall(id: string, deliveries: number): Tries | undefined {
    const known = this.#known.get(id)
    if (known === undefined) return undefined
    this.#known.delete(id)
    return deliveries <= known.deliveries + 1 ? known : undefined
  }
}
