import { backgroundTimeout } from '@platform/kernel'

const resolutionMs = 1
const unread = -1

/** `performance.now()`, read once in a millisecond: it is half of what a hit costs. Late by as long as the event loop is held up. */
export class CoarseClock {
  #now = unread
  #timer: NodeJS.Timeout | undefined

  now(): number {
    return this.#now === unread ? this.#read() : this.#now
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#now = unread
  }

  #read(): number {
    this.#now = performance.now()
    this.#timer = backgroundTimeout(() => {
      this.#now = unread
    }, resolutionMs)
    return this.#now
  }
}
