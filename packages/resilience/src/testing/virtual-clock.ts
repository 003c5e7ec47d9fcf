interface Entry {
  readonly dueAt: number
  readonly order: number
  readonly run: () => void
}

class VirtualTimeout {
  entry: Entry | undefined
  readonly #clock: VirtualClock
  readonly #delayMs: number
  readonly #run: () => void

  constructor(clock: VirtualClock, delayMs: number, run: () => void) {
    this.#clock = clock
    this.#delayMs = delayMs
    this.#run = run
    this.refresh()
  }

  refresh(): this {
    this.entry = this.#clock.schedule(Math.max(1, Math.trunc(Number(this.#delayMs)) || 0), () => {
      this.entry = undefined
      this.#run()
    })
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return this.entry !== undefined
  }
}

/**
 * Stands in for `performance.now`, `setTimeout`, `clearTimeout` and `Math.random` of the whole process while it is installed.
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
    const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, random: Math.random }
    const realNow = Object.getOwnPropertyDescriptor(performance, 'now')
    globalThis.setTimeout = ((run: (...args: unknown[]) => void, delayMs = 0, ...args: unknown[]) =>
      new VirtualTimeout(this, delayMs, () => run(...args))) as unknown as typeof setTimeout
    globalThis.clearTimeout = (timer) => {
      if (!((timer as unknown) instanceof VirtualTimeout)) real.clearTimeout(timer)
      else (timer as unknown as VirtualTimeout).entry = undefined
    }
    Math.random = this.#random
    Object.defineProperty(performance, 'now', { value: () => this.#now, configurable: true, writable: true })
    return () => {
      Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout })
      Math.random = real.random
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
      this.#now = Math.max(this.#now, next.dueAt)
      next.run()
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
