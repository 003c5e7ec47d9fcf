import { accessLogSetting, commonSettings, httpSettings } from '@film-store/film-contracts'
import { followedSettings, followedSources } from '@film-store/film-contracts/shop'
import { type Config, defineConfig } from '@platform/config'
import { z } from 'zod'

export const prefix = 'ORDERS'

export const settings = defineConfig({
  schema: z.object({
    ...commonSettings,
    ...followedSettings,
    accessLog: accessLogSetting,
    http: httpSettings,
    catalog: z
      .object({
        urls: z.array(z.string()).default([]).describe('Instances of catalog-api, when no Consul says where they are'),
        timeoutMs: z.int().positive().default(2_000).describe('How long a price may take, tries included'),
      })
      .meta({ reload: 'restart' })
      .prefault({}),
  }),
})

export type Settings = Awaited<ReturnType<typeof settings.load>>['current']

export function loadSettings(): Promise<Config<Settings>> {
  return settings.load({ sources: followedSources(prefix), watch: true })
}
