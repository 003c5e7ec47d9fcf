import { commonSettings } from '@film-store/film-contracts'
import { args, type Config, defineConfig, dotenv, env } from '@platform/config'
import { z } from 'zod'

export const prefix = 'FULFILMENT'

export const settings = defineConfig({
  schema: z.object({
    ...commonSettings,
    concurrency: z.int().positive().max(256).default(16).describe('Orders handled at the same time').meta({ reload: 'restart' }),
  }),
})

export type Settings = Awaited<ReturnType<typeof settings.load>>['current']

/** Defaults, then `.env`, then the environment, then arguments. */
export function loadSettings(): Promise<Config<Settings>> {
  return settings.load({ sources: [dotenv('.env', { prefix }), env({ prefix }), args()] })
}
