/** A timer of the virtual clock: what Node's has, as far as anything here uses it. */
interface VirtualTimer {
  readonly at: number
  readonly order: number
  readonly everyMs: number | undefined
  run(): void
  unref(): VirtualTimer
  ref(): VirtualTimer
}

type VirtualImmediate = Pick<VirtualTimer, 'run'> & { unref(): VirtualImmediate; ref(): VirtualImmediate }

const real = { setImmediate: globalThis.setImmediate }

/** mulberry32: small, seeded, good enough to choose with. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/**
 * Timers, immediates, `performance.now()` and `Math.random()` under one seeded clock that jumps from event to event. All code that runs meanwhile
 * sees it; nothing else may run in the process.
 */
export class VirtualTime {
  #now = 0
  #order = 0
  #timers: VirtualTimer[] = []
  #immediates: VirtualImmediate[] = []
  #restore: (() => void) | undefined

  get now(): number {
    return this.#now
  }

  install(random: () => number): void {
    const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate } = globalThis
    const [now, randomBefore] = [performance.now, Math.random]
    const add =
      (everyMs: number | undefined) =>
      (run: (...args: unknown[]) => void, delayMs?: number, ...args: unknown[]) =>
        this.#add(() => run(...args), Math.max(1, delayMs ?? 1), everyMs === undefined ? undefined : Math.max(1, delayMs ?? 1))
    const remove = (timer: VirtualTimer | undefined): void => {
      this.#timers = this.#timers.filter((each) => each !== timer)
    }
    const faked = {
      setTimeout: add(undefined),
      clearTimeout: remove,
      setInterval: add(0),
      clearInterval: remove,
      setImmediate: (run: (...args: unknown[]) => void, ...args: unknown[]) => {
        const immediate: VirtualImmediate = { run: () => run(...args), unref: () => immediate, ref: () => immediate }
        this.#immediates.push(immediate)
        return immediate
      },
      clearImmediate: (immediate: VirtualImmediate | undefined) => {
        this.#immediates = this.#immediates.filter((each) => each !== immediate)
      },
    }
    Object.assign(globalThis, faked)
    performance.now = () => this.#now
    Math.random = random
    this.#restore = () => {
      Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate })
      performance.now = now
      Math.random = randomBefore
    }
  }

  uninstall(): void {
    this.#restore?.()
    this.#restore = undefined
  }

  /** Runs event after event until the condition holds or so much time has passed. */
  async runUntil(done: () => boolean, atMost: number): Promise<void> {
    await settled()
    while (!done() && this.#now < atMost) {
      if (this.#immediates.length > 0) for (const immediate of this.#immediates.splice(0)) immediate.run()
      else {
        const next = this.#earliest()
        if (!next) return
        this.#timers.splice(this.#timers.indexOf(next), 1)
        this.#now = Math.max(this.#now, next.at)
        if (next.everyMs !== undefined) this.#add(next.run, next.everyMs, next.everyMs, next)
        next.run()
      }
      await settled()
    }
  }

  #earliest(): VirtualTimer | undefined {
    let best: VirtualTimer | undefined
    for (const timer of this.#timers) if (!best || timer.at < best.at || (timer.at === best.at && timer.order < best.order)) best = timer
    return best
  }

  /** An interval keeps its identity, so that it can be cleared. */
  #add(run: () => void, delayMs: number, everyMs: number | undefined, same?: VirtualTimer): VirtualTimer {
    const timer: VirtualTimer = Object.assign(same ?? {}, {
      at: this.#now + delayMs,
      order: ++this.#order,
      everyMs,
      run,
      unref: () => timer,
      ref: () => timer,
    })
    this.#timers.push(timer)
    return timer
  }
}

/** When every microtask has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    real.setImmediate(resolve)
  })
}
