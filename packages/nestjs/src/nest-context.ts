import type { INestApplicationContext, INestMicroservice } from '@nestjs/common'
import { orAborted, settlesWithin } from '@platform/kernel'
import { Birth } from './birth.ts'
import { nestLifecycle } from './nest-lifecycle.ts'

/** A component of `@platform/service`, by shape. */
export interface NestContext {
  ready(options?: { signal?: AbortSignal }): Promise<void>
  check(): Promise<void | { status: 'warn'; message: string }>
  quiesce(): Promise<void>
  drain(options?: { signal?: AbortSignal }): Promise<void>
  close(options?: { timeoutMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type NestApp = INestApplicationContext | INestMicroservice

/**
 * A Nest application without HTTP (`createApplicationContext`, `createMicroservice`) as a component: `ready` runs its init hooks and, for a
 * microservice, listens; its consumers (`@Consume`) are checked, quiesced and drained, and so are the handlers of its transport; `close` drains and runs its destroy hooks. Nest initialises a
 * context while it makes it: give the function that makes it, and `ready` calls that, after what the component needs. When it fails, what
 * factories of ours have made by then is closed.
 * The service owns the signals: what `enableShutdownHooks` registered is taken back.
 */
export function nestContext(app: NestApp | (() => Promise<NestApp>)): NestContext {
  const birth = new Birth()
  let making: Promise<NestApp> | undefined = typeof app === 'function' ? undefined : Promise.resolve(app)
  let lifecycle = typeof app === 'function' ? undefined : nestLifecycle(app)
  let closing: Promise<void> | undefined

  async function closeApp(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    // One that is still being made is awaited: it holds what there is to close.
    if (making === undefined || !(await settlesWithin(making, timeoutMs))) return
    const made = await making.catch(() => undefined)
    if (made === undefined) return
    lifecycle ??= nestLifecycle(made)
    await lifecycle.close(Math.max(0, until - performance.now()))
  }
  const close = ({ timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<void> => (closing ??= closeApp(timeoutMs))

  return {
    async ready({ signal } = {}) {
      making ??= birth.of(app as () => Promise<NestApp>)
      const giveUp = (): void => birth.giveUp(signal?.reason)
      signal?.addEventListener('abort', giveUp, { once: true })
      const made = await orAborted(making, signal).finally(() => signal?.removeEventListener('abort', giveUp))
      lifecycle ??= nestLifecycle(made)
      await lifecycle.init(signal)
      if ('listen' in made) await lifecycle.listen(() => made.listen(), signal)
    },
    check: async () => lifecycle?.consumers()?.check(),
    quiesce: async () => lifecycle?.consumers()?.quiesce(),
    drain: async (options) => lifecycle?.drain(options),
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}
