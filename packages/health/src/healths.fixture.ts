import { afterEach, vi } from 'vitest'
import { type Check, createHealth, type Health, type HealthOptions } from './index.ts'

/** The health checks of a test file, closed after each test. */
export function testHealth(): (checks: Record<string, Check>, logger?: HealthOptions['logger']) => Health {
  const open: Health[] = []
  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one.close({ timeoutMs: 100 })))
  })
  return (checks, logger) => {
    const made = createHealth({ checks, logger })
    open.push(made)
    return made
  }
}

export const fast = { intervalMs: 10, timeoutMs: 20, fall: 1 } as const
export const until = (assert: () => void): Promise<void> => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
