import type { OnApplicationShutdown, OnModuleInit, Provider } from '@nestjs/common'
import { withDeadline } from '@platform/kernel'
import { Birth } from './birth.ts'
import { NestjsError } from './errors.ts'
import { NestStart } from './nest-start.ts'

interface Component {
  ready?(options?: { signal?: AbortSignal }): Promise<unknown>
  close?(options?: { timeoutMs?: number }): Promise<unknown>
}

const readyWithinMs = 60_000
const closeWithinMs = 10_000

/** What a factory made inside of Nest lives with the application: it is awaited at its start, and closed with it. */
class Owned implements OnModuleInit, OnApplicationShutdown {
  readonly #name: string
  readonly #object: Component
  readonly #start: NestStart

  constructor(name: string, object: Component, start: NestStart) {
    this.#name = name
    this.#object = object
    this.#start = start
    Birth.join({ close: () => this.onApplicationShutdown() })
  }

  async onModuleInit(): Promise<void> {
    const late = (): Error => new NestjsError('ERR_NESTJS_NOT_READY', `${this.#name} was not ready within ${readyWithinMs} ms`)
    await withDeadline(readyWithinMs, late, async (signal) => this.#object.ready?.({ signal }), this.#start.signal)
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#object.close?.({ timeoutMs: closeWithinMs })
  }
}

/** Asks for the object by its token, so that a test's `overrideProvider` is what lives. */
export function ownedBy(token: object & { readonly name: string }): Provider {
  return {
    provide: Symbol(`life of ${token.name}`),
    inject: [token as never, NestStart],
    useFactory: (object: Component, start: NestStart) => new Owned(token.name, object, start),
  }
}
