/**
 * Errors that this side made: a hook that threw, a request that cannot be sent, a body that failed while it was read. No instance is to blame for
 * them, and another attempt would end alike.
 */
export class OurFaults {
  readonly #errors = new WeakSet<object>()

  has(error: unknown): boolean {
    return typeof error !== 'object' || error === null || this.#errors.has(error)
  }

  add(error: unknown): void {
    if (typeof error === 'object' && error !== null) this.#errors.add(error)
  }
}

/** undici names what went wrong on the way as the cause; without one the request was refused before it was sent. */
export function isRefusedRequest(error: unknown): boolean {
  return error instanceof TypeError && error.cause === undefined
}
