import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ConfigError, defineConfig } from './index.ts'

describe('options', () => {
  it.each([
    [{ watch: 'yes' }, 'watch'],
    [{ readTimeoutMs: 0 }, 'readTimeoutMs'],
    [{ prepareTimeoutMs: 1.5 }, 'prepareTimeoutMs'],
    [{ retryMs: -1 }, 'retryMs'],
    [{ lastKnownGood: { path: 'x', key: 'y', maxAgeMs: 0 } }, 'lastKnownGood.maxAgeMs'],
    [{ wath: true }, 'wath'],
  ])('%j is refused', async (options, name) => {
    const error = await defineConfig({ schema: z.object({}) })
      .load({ sources: [], ...(options as object) })
      .catch((reason: unknown) => reason)
    expect(ConfigError.isInstance(error) && error.code).toBe('ERR_CONFIG_OPTION')
    expect((error as Error).message).toContain(name)
  })

  it('refuses metadata that says nothing', () => {
    expect(() => defineConfig({ schema: z.object({ a: z.string().meta({ reload: 'sometimes' }) }) })).toThrow('live, drain or restart')
    expect(() => defineConfig({ schema: z.object({ a: z.string().meta({ env: 'lower' }) }) })).toThrow('env')
  })
})
