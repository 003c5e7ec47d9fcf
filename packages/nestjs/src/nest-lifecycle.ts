import type { INestApplicationContext } from '@nestjs/common'
import { orAborted, settlesWithin } from '@platform/kernel'

export interface NestLifecycle {
  /** Nest cannot be told to stop initialising; whoever waits for it can. */
  init(signal: AbortSignal | undefined): Promise<void>
  /** Nest's destroy hooks, once; not before its init hooks have ended, if they end in time. Resolves at the timeout at the latest. */
  close(timeoutMs: number): Promise<void>
}

export function nestLifecycle(app: INestApplicationContext): NestLifecycle {
  let initialising: Promise<unknown> | undefined
  let closing: Promise<void> | undefined

  async function closeApp(timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs
    if (initialising) await settlesWithin(initialising, timeoutMs)
    const closed = app.close()
    if (await settlesWithin(closed, Math.max(0, until - performance.now()))) await closed
  }

  return {
    async init(signal) {
      initialising ??= app.init()
      await orAborted(initialising, signal)
    },
    close(timeoutMs) {
      closing ??= closeApp(timeoutMs)
      return closing
    },
  }
}
