import type { INestApplicationContext, INestMicroservice } from '@nestjs/common'
import { orAborted } from '@platform/kernel'
import { nestLifecycle } from './nest-lifecycle.ts'

/** A component of `@platform/service`, by shape. */
export interface NestContext {
  ready(options?: { signal?: AbortSignal }): Promise<void>
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * A Nest application without HTTP (`createApplicationContext`, `createMicroservice`) as a component: `ready` runs its init hooks and, for a
 * microservice, listens; `close` runs its destroy hooks. Leave `enableShutdownHooks` off: the service owns the signals.
 */
export function nestContext(app: INestApplicationContext | INestMicroservice): NestContext {
  const lifecycle = nestLifecycle(app)
  const close = ({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> => lifecycle.close(timeoutMs)
  return {
    async ready({ signal } = {}) {
      await lifecycle.init(signal)
      if ('listen' in app) await orAborted(app.listen(), signal)
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}
