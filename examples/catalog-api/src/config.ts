import { accessLogSetting, commonSettings, httpSettings } from '@film-store/film-contracts'
import { followedSettings, followedSources } from '@film-store/film-contracts/shop'
import { sentinelsSetting } from '@film-store/film-contracts/sentinels'
import { type Config, defineConfig, secret } from '@platform/config'
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
        sentinels: sentinelsSetting,
        ttlMs: z.int().positive().default(60_000).describe('How long a page is kept when nothing invalidates it'),
      })
      .meta({ reload: 'restart' })
      .prefault({}),
  }),
})

export type Settings = Awaited<ReturnType<typeof settings.load>>['current']

export function loadSettings(): Promise<Config<Settings>> {
  return settings.load({ sources: followedSources(prefix), watch: true })
}
