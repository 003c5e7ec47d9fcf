import { setImmediate as nextTurn } from 'node:timers/promises'
import { orAborted } from '@platform/kernel'

type Handler = (...args: unknown[]) => unknown

/** A server of `@nestjs/microservices`, by what is used of it. */
export interface TransportServer {
  getHandlers(): Map<string, Handler>
}

/** An observable of rxjs, by what is used of it. */
interface Stream {
  subscribe(...observer: unknown[]): { add(teardown: () => void): void }
}

/**
 * What the handlers of Nest's transports have in hand. Nest closes a transport first and runs its hooks afterwards, and no transport waits for its
 * handlers: whoever wants their answers has to wait before.
 */
export class Transports {
  readonly #counted = new WeakSet<Handler>()
  #inHand = 0
  #idle: (() => void)[] = []

  /** Counts the calls of all handlers that are registered by now. */
  watch(servers: Iterable<TransportServer>): void {
    for (const server of servers) {
      const handlers = server.getHandlers()
      for (const [pattern, handler] of handlers) if (!this.#counted.has(handler)) handlers.set(pattern, this.#count(handler))
    }
  }

  /** Waits until nothing is in hand. */
  async drain({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    while (this.#inHand > 0) await orAborted(new Promise<void>((resolve) => this.#idle.push(resolve)), signal)
    // An answer is handed to the client library in the next tick.
    await nextTurn()
  }

  /** A proxy, because Nest keeps facts on the function. */
  #count(handler: Handler): Handler {
    const counted = new Proxy(handler, {
      apply: async (target, self, args: unknown[]) => {
        this.#inHand += 1
        try {
          const result = await (Reflect.apply(target, self, args) as unknown)
          if (isStream(result)) return this.#untilItsEnd(result)
          this.#done()
          return result
        } catch (error) {
          this.#done()
          throw error
        }
      },
    })
    this.#counted.add(counted)
    return counted
  }

  /** In hand until whoever answers has had the last value of the stream. */
  #untilItsEnd(stream: Stream): Stream {
    let first = true
    const done = (): void => {
      if (first) this.#done()
      first = false
    }
    return Object.create(stream, {
      subscribe: {
        value: (...observer: unknown[]) => {
          const subscription = stream.subscribe(...observer)
          subscription.add(done)
          return subscription
        },
      },
    }) as Stream
  }

  #done(): void {
    this.#inHand -= 1
    if (this.#inHand === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }
}

function isStream(value: unknown): value is Stream {
  return typeof (value as { subscribe?: unknown } | null | undefined)?.subscribe === 'function'
}
