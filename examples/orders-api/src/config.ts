import { accessLogSetting, commonSettings, httpSettings } from '@film-store/film-contracts'
import { followedSettings, followedSources } from '@film-store/film-contracts/shop'
import { args, type Config, defineConfig, dotenv, env, secret } from '@platform/config'
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
    consulUrl: z
      .string()
      .optional()
      .describe('Where catalog-api is looked up, and where this instance registers')
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
