import { accessLogSetting, commonSettings, httpSettings } from '@film-store/film-contracts'
import { followedSettings, followedSources } from '@film-store/film-contracts/shop'
import { args, type Config, defineConfig, dotenv, env, secret } from '@platform/config'
import { z } from 'zod'

export const prefix = 'CATALOG'

export const settings = defineConfig({
  schema: z.object({
    ...commonSettings,
    ...followedSettings,
    accessLog: accessLogSetting,
    http: httpSettings
      .extend({
        advertise: z.string().optional().describe('Name or address under which others reach it, when it is not the one it listens on'),
      })
      .meta({ reload: 'restart' }),
    cache: z
      .object({
        redisUrl: secret(z.string()).optional().describe('Shared second layer; without it each instance keeps its own pages'),
        ttlMs: z.int().positive().default(60_000).describe('How long a page is kept when nothing invalidates it'),
      })
      .meta({ reload: 'restart' })
      .prefault({}),
    consulUrl: z
      .string()
      .optional()
      .describe('Where this instance registers; without it callers know it by configuration')
      .meta({ reload: 'restart' }),
    consulToken: secret(z.string()).optional().describe('What Consul lets this service do').meta({ reload: 'restart' }),
  }),
})

export type Settings = Awaited<ReturnType<typeof settings.load>>['current']

/** Defaults, then the followed file, `.env`, Consul, the environment, arguments. */
export function loadSettings(): Promise<Config<Settings>> {
  const [followedFile, consul] = followedSources(prefix)
  const sources = [...followedFile, dotenv('.env', { prefix }), ...consul, env({ prefix }), args()]
  return settings.load({ sources, watch: true })
}
