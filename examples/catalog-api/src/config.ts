import { commonSettings, httpSettings } from '@film-store/film-contracts'
import { args, type Config, defineConfig, dotenv, env, secret } from '@platform/config'
import { z } from 'zod'

export const prefix = 'CATALOG'

export const settings = defineConfig({
  schema: z.object({
    ...commonSettings,
    http: httpSettings.extend({
      advertise: z.string().optional().describe('Name or address under which others reach it, when it is not the one it listens on'),
    }),
    cache: z
      .object({
        redisUrl: secret(z.string()).optional().describe('Shared second layer; without it each instance keeps its own pages'),
        ttlMs: z.int().positive().default(60_000).describe('How long a page is kept when nothing invalidates it'),
      })
      .prefault({}),
    consulUrl: z.string().optional().describe('Where this instance registers; without it callers know it by configuration'),
  }),
})

export type Settings = Awaited<ReturnType<typeof settings.load>>['current']

/** Defaults, then `.env`, then the environment, then arguments. */
export function loadSettings(): Promise<Config<Settings>> {
  return settings.load({ sources: [dotenv('.env', { prefix }), env({ prefix }), args()] })
}
