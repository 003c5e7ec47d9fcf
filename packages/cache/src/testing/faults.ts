import type { Publisher, SharedDriver, SharedStore } from '../driver.ts'
import type { BusTransport, InvalidationBus } from '../invalidation.ts'

/**
 * What happens to one operation. `delayMs` passes before it, `replyMs` after it. `fails`: it is not done, and the caller is told so. `lost`: it is done,
 * and the caller never hears of it.
 */
export interface Fault {
  readonly delayMs?: number | undefined
  readonly replyMs?: number | undefined
  readonly kind?: 'none' | 'fails' | 'lost' | undefined
}

type Operation = Exclude<keyof SharedStore, 'close' | 'publisher'>

/** A shared driver of which every operation is in the hands of the test. */
export function faultyDriver(driver: SharedDriver, fault: (operation: Operation) => Fault): SharedDriver {
  return {
    ...driver,
    open: (options) => {
      const store = driver.open(options)
      const under = async <T>(operation: Operation, run: () => Promise<T>): Promise<T> => {
        const { delayMs = 0, replyMs = 0, kind = 'none' } = fault(operation)
        await pass(delayMs)
        if (kind === 'fails') throw new Error(`${operation} failed on purpose`)
        const result = await run()
        await pass(replyMs)
        return kind === 'lost' ? new Promise<never>(() => undefined) : result
      }
      return {
        read: (lookups) => under('read', () => store.read(lookups)),
        fill: (write) => under('fill', () => store.fill(write)),
        renew: (keys, token, leaseMs, yielded) => under('renew', () => store.renew(keys, token, leaseMs, yielded)),
        release: (keys, token) => under('release', () => store.release(keys, token)),
        write: (write, telling) => under('write', () => store.write(write, telling)),
        invalidate: (what, telling) => under('invalidate', () => store.invalidate(what, telling)),
        ping: () => under('ping', () => store.ping()),
        close: () => store.close(),
        publisher: store.publisher,
      }
    },
  }
}

/** Carries payloads between the buses of one test, each with a delay of its own choosing; order is kept per receiver, as servers keep it. */
export class MemoryChannel {
  /** For a store that stands on the same server. */
  readonly publisher: Publisher = { server: Symbol('memory channel'), publish: (_channel, payload) => this.#publish(payload) }
  readonly #receivers = new Set<(payload: string) => void>()
  readonly #delayMs: () => number

  constructor(delayMs: () => number = () => 0) {
    this.#delayMs = delayMs
  }

  bus(heartbeatMs: number): InvalidationBus {
    return { name: 'memory-channel', maxPayloadBytes: 8_000, heartbeatMs, open: ({ onMessage, onLost }) => this.#open(onMessage, onLost) }
  }

  #open(onMessage: (payload: string) => void, onLost: (cause: unknown) => void): BusTransport {
    let arrived = Promise.resolve()
    const receive = (payload: string): void => {
      const passed = pass(this.#delayMs())
      arrived = arrived.then(() => passed).then(() => onMessage(payload))
    }
    this.#receivers.add(receive)
    queueMicrotask(() => onLost('subscribed'))
    return {
      publish: (payload) => this.#publish(payload),
      place: { server: this.publisher.server, channel: 'memory' },
      close: async () => {
        this.#receivers.delete(receive)
      },
    }
  }

  async #publish(payload: string): Promise<void> {
    for (const deliver of this.#receivers) deliver(payload)
    await pass(this.#delayMs())
  }
}

async function pass(delayMs: number): Promise<void> {
  if (delayMs > 0)
    await new Promise((resolve) => {
      setTimeout(resolve, delayMs)
    })
}
