import type { INestApplicationContext, Type } from '@nestjs/common'
import { ModulesContainer } from '@nestjs/core'
import { orAborted, settlesWithin } from '@platform/kernel'
import { PlatformConsumers } from './consumers.ts'
import { NestStart } from './nest-start.ts'
import { Transports, type TransportServer } from './transports.ts'

export interface NestLifecycle {
  /** Nest cannot be told to stop initialising; whoever waits for it can, and whoever waits in its hooks for a server of ours. */
  init(signal: AbortSignal | undefined): Promise<void>
  /** Has transports listen, of handlers that were registered by then or are meanwhile. */
  listen(start: () => Promise<unknown>, signal: AbortSignal | undefined): Promise<void>
  /** Of the methods with `@Consume`, if there are any. */
  consumers(): PlatformConsumers | undefined
  /** Waits for what consumers and handlers of Nest's transports have in hand. */
  drain(options?: { signal?: AbortSignal }): Promise<void>
  /** Drains, then runs Nest's destroy hooks, once; not before its init hooks have ended, if they end in time. Resolves at the timeout at the latest. */
  close(timeoutMs: number): Promise<void>
}

/** Of the time to close, for the handlers of transports. */
const drainShare = 0.8

export function nestLifecycle(app: INestApplicationContext): NestLifecycle {
  let initialising: Promise<unknown> | undefined
  let closing: Promise<void> | undefined
  const transports = new Transports()

  /** Not `app.get`: asked for what is not there, an application ends the process unless it was made with `abortOnError: false`. */
  function own<T>(type: abstract new (...dependencies: never[]) => T): T | undefined {
    const modules = [...app.get(ModulesContainer, { strict: false }).values()]
    return modules.map(({ providers }) => providers.get(type as unknown as Type)?.instance as T | undefined).find(Boolean)
  }

  function watchTransports(): TransportServer[] {
    const servers: TransportServer[] = []
    const registry = app.get(ModulesContainer, { strict: false }).getRpcTargetRegistry<TransportServer>()
    registry.subscribe((server) => servers.push(server)).unsubscribe()
    transports.watch(servers)
    return servers
  }

  async function closeApp(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    if (initialising) await settlesWithin(initialising, timeoutMs)
    // Of a handler that never ends the hooks must not hear too late.
    await settlesWithin(transports.drain(), Math.max(0, until - performance.now()) * drainShare)
    const closed = app.close()
    if (await settlesWithin(closed, Math.max(0, until - performance.now()))) await closed
  }

  /**
   * The service owns the signals. What `enableShutdownHooks` put there, or puts there later, would close the application at the signal, while it
   * is to drain. A plain assignment is swallowed by the proxy that Nest puts around an application.
   */
  function disownSignals(): void {
    const { unsubscribeFromProcessSignals } = app as { unsubscribeFromProcessSignals?: () => void }
    unsubscribeFromProcessSignals?.call(app)
    Object.defineProperty(app, 'enableShutdownHooks', { value: () => app, configurable: true, writable: true })
  }

  disownSignals()
  return {
    async init(signal) {
      // A microservice would run the hooks of `init` once more when it registers its handlers.
      ;(app as { setIsInitHookCalled?: (called: boolean) => void }).setIsInitHookCalled?.(true)
      initialising ??= app.init()
      const giveUp = (): void => own(NestStart)?.giveUp(signal?.reason)
      signal?.addEventListener('abort', giveUp, { once: true })
      try {
        await orAborted(initialising, signal)
      } finally {
        signal?.removeEventListener('abort', giveUp)
      }
    },
    async listen(start, signal) {
      watchTransports()
      await orAborted(start(), signal)
      await orAborted(transports.subscribed(watchTransports()), signal)
    },
    consumers: () => own(PlatformConsumers),
    async drain(options) {
      await Promise.all([own(PlatformConsumers)?.drain(options), transports.drain(options)])
    },
    close(timeoutMs) {
      closing ??= closeApp(timeoutMs)
      return closing
    },
  }
}
