interface Entry {
  readonly dueAt: number
  readonly order: number
  /** Undefined once it ran or was cancelled. */
  run: (() => void) | undefined
}

class VirtualTimeout {
  readonly #clock: VirtualClock
  readonly #delayMs: number
  readonly #run: () => void
  readonly #repeats: boolean
  #entry: Entry | undefined

  constructor(clock: VirtualClock, delayMs: number, run: () => void, repeats: boolean) {
    this.#clock = clock
    this.#delayMs = Math.max(1, Math.trunc(Number(delayMs)) || 0)
    this.#run = run
    this.#repeats = repeats
    this.refresh()
  }

  refresh(): this {
    this.cancel()
    this.#entry = this.#clock.schedule(this.#delayMs, () => {
      this.#entry = undefined
      if (this.#repeats) this.refresh()
      this.#run()
    })
    return this
  }

  cancel(): void {
    if (this.#entry !== undefined) this.#entry.run = undefined
    this.#entry = undefined
  }

  close(): this {
    this.cancel()
    return this
  }

  [Symbol.dispose](): void {
    this.cancel()
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return this.#entry !== undefined
  }
}

/**
 * Stands in for `performance.now`, the timers (`setImmediate` not) and `Math.random` of the whole process while it is installed.
 * It begins later than any process is old, so that what was made before does not see time run backwards, and always at the same
 * number, so that sums round alike in every run.
 */
export class VirtualClock {
  readonly #heap: Entry[] = []
  readonly #random: () => number
  #now: number = 2 ** 40
  #order = 0

  constructor(random: () => number) {
    this.#random = random
  }

  get now(): number {
    return this.#now
  }

  install(): () => void {
    const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis
    const real = { setTimeout, clearTimeout, setInterval, clearInterval }
    const realRandom = Math.random
    const realNow = Object.getOwnPropertyDescriptor(performance, 'now')
    const set = (repeats: boolean) =>
      ((run: (...args: unknown[]) => void, delayMs = 0, ...args: unknown[]) =>
        new VirtualTimeout(this, delayMs, () => run(...args), repeats)) as unknown as typeof setTimeout
    const clear = (timer: unknown): void => {
      if (timer instanceof VirtualTimeout) timer.cancel()
      else real.clearTimeout(timer as NodeJS.Timeout)
    }
    Object.assign(globalThis, { setTimeout: set(false), clearTimeout: clear, setInterval: set(true), clearInterval: clear })
    Math.random = this.#random
    Object.defineProperty(performance, 'now', { value: () => this.#now, configurable: true, writable: true })
    return () => {
      Object.assign(globalThis, real)
      Math.random = realRandom
      if (realNow === undefined) Reflect.deleteProperty(performance, 'now')
      else Object.defineProperty(performance, 'now', realNow)
    }
  }

  schedule(delayMs: number, run: () => void): Entry {
    const entry = { dueAt: this.#now + Math.max(0, delayMs), order: this.#order++, run }
    this.#push(entry)
    return entry
  }

  /** Runs what is due up to then, one timer at a time, each with everything that follows from it. */
  async runUntil(time: number, isOver: () => boolean = () => false): Promise<void> {
    await settle()
    while (!isOver()) {
      const next = this.#heap[0]
      if (next === undefined || next.dueAt > time) break
      this.#pop()
      if (next.run === undefined) continue
      this.#now = Math.max(this.#now, next.dueAt)
      const { run } = next
      next.run = undefined
      run()
      await settle()
    }
    if (!isOver()) this.#now = Math.max(this.#now, time)
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(entry, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.order < b.order)
}

/** A turn of the real event loop: every promise that can settle has settled by then. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
