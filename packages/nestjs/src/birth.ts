import { AsyncLocalStorage } from 'node:async_hooks'
import { guarded, settlesWithin } from '@platform/kernel'

interface Born {
  giveUp?(reason: unknown): void
  close?(): Promise<void>
}

const current = new AsyncLocalStorage<Birth>()
const closeWithinMs = 10_000

/**
 * An application that is being made. Until it is there nobody can tell it through itself to give up, and when it fails nobody gets it to close
 * what it has made: both are done here.
 */
export class Birth {
  readonly #born: Born[] = []

  /** Takes part in the one under way, if this is inside of one. */
  static join(born: Born): void {
    const birth = current.getStore()
    if (birth) birth.#born.push(born)
  }

  async of<T>(make: () => Promise<T>): Promise<T> {
    try {
      return await current.run(this, make)
    } catch (error) {
      for (const one of this.#born.toReversed()) {
        await settlesWithin(Promise.resolve(guarded(() => one.close?.())), closeWithinMs)
      }
      throw error
    }
  }

  giveUp(reason: unknown): void {
    for (const one of this.#born) one.giveUp?.(reason)
  }
}
