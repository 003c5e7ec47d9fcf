import { commonSettings, httpSettings } from '@film-store/film-contracts'
import { args, type Config, defineConfig, dotenv, env } from '@platform/config'
import { z } from 'zod'

export const prefix = 'ORDERS'

export const settings = defineConfig({
  schema: z.object({
    ...commonSettings,
    http: httpSettings,
    catalog: z
      .object({
        urls: z.array(z.string()).default([]).describe('Instances of catalog-api, when no Consul says where they are'),
        timeoutMs: z.int().positive().default(2_000).describe('How long a price may take, tries included'),
      })
      .prefault({}),
    consulUrl: z.string().optional().describe('Where catalog-api is looked up, and where this instance registers'),
  }),
})

export type Settings = Awaited<ReturnType<typeof settings.load>>['current']

/** Defaults, then `.env`, then the environment, then arguments. */
export function loadSettings(): Promise<Config<Settings>> {
  return settings.load({ sources: [dotenv('.env', { prefix }), env({ prefix }), args()] })
}
