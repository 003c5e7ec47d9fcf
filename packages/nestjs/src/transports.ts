import { setImmediate as nextTurn } from 'node:timers/promises'
import { guarded, orAborted } from '@platform/kernel'

type Handler = (...args: unknown[]) => unknown

/** A server of `@nestjs/microservices`, by what is used of it. */
export interface TransportServer {
  getHandlers(): Map<string, Handler>
  /** Has the values of a stream answered one after the other: each when `respond` of the one before has settled. */
  send?(stream: unknown, respond: (answer: unknown) => unknown): unknown
  /** What it stands on: of Redis the two clients. Throws before it listens. */
  unwrap?(): unknown
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
  readonly #counted = new WeakSet<Handler | TransportServer>()
  #inHand = 0
  #idle: (() => void)[] = []

  /** Counts the calls of all handlers that are registered by now, and their answers. */
  watch(servers: Iterable<TransportServer>): void {
    for (const server of servers) {
      this.#countAnswers(server)
      const handlers = server.getHandlers()
      for (const [pattern, handler] of handlers) if (!this.#counted.has(handler)) handlers.set(pattern, this.#count(handler))
    }
  }

  /**
   * Nest's transport over Redis says that it listens before its subscriptions have reached the server, and what is sent until then is lost. A server
   * answers in order: who answers this has them.
   */
  async subscribed(servers: Iterable<TransportServer>): Promise<void> {
    const clients = [...servers].flatMap((server) => guarded(() => server.unwrap?.())).filter(isRedisClient)
    // One whose connection is lost subscribes anew by itself.
    await Promise.allSettled(clients.map((client) => client.ping()))
  }

  /** Waits until nothing is in hand. */
  async drain({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    for (;;) {
      // Between a handler and its answer, and between two answers, there is a tick.
      await nextTurn()
      if (this.#inHand === 0) return
      await orAborted(new Promise<void>((resolve) => this.#idle.push(resolve)), signal)
    }
  }

  /** In hand until the client library has handed it over: a transport that is closed earlier loses the answers behind it. */
  #countAnswers(server: TransportServer): void {
    if (this.#counted.has(server) || server.send === undefined) return
    this.#counted.add(server)
    const send = server.send.bind(server)
    server.send = (stream, respond) => send(stream, (answer) => this.#during(() => respond(answer)))
  }

  async #during<R>(work: () => R): Promise<Awaited<R>> {
    this.#inHand += 1
    try {
      return await work()
    } finally {
      this.#done()
    }
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

function isRedisClient(client: unknown): client is { ping(): Promise<unknown> } {
  const { ping, subscribe } = (client ?? {}) as { ping?: unknown; subscribe?: unknown }
  return typeof ping === 'function' && typeof subscribe === 'function'
}

function isStream(value: unknown): value is Stream {
  return typeof (value as { subscribe?: unknown } | null | undefined)?.subscribe === 'function'
}
