import { readFileSync } from 'node:fs'
import { args, type Config, dotenv, env, file, secret, type Source } from '@platform/config'
import { consulKv } from '@platform/config/consul'
import { flags } from '@platform/config/flags'
import { OpenFeature } from '@openfeature/server-sdk'
import { z } from 'zod'

/** A flag that is defined costs less to ask for than one that is missing: no error is made of it. */
const noPromotion = { flags: { promotion: { state: 'ENABLED', variants: { on: true, off: false }, defaultVariant: 'off' } } }

/** How the store presents itself; changes in every instance while orders flow. */
export const shopSettings = z
  .object({
    currency: z.enum(['EUR', 'USD', 'GBP']).default('EUR').describe('Currency in which prices are shown'),
    flags: z.unknown().default(noPromotion).describe("Feature flags in flagd's format; the store knows `promotion`"),
  })
  .prefault({})

export const followedSettings = {
  settingsFile: z.string().optional().meta({ reload: 'restart' }).describe('File of settings that is followed while the service runs'),
  consulUrl: z
    .string()
    .optional()
    .describe('Where the HTTP services announce themselves and find each other, and settings are followed; without it, configuration says')
    .meta({ reload: 'restart' }),
  consulToken: secret(z.string()).optional().describe('What Consul lets this service do').meta({ reload: 'restart' }),
  shop: shopSettings,
}

/**
 * Defaults, then the followed file, `.env`, Consul, the environment, arguments. The file and Consul, whose settings change while a service runs, are
 * found by variables alone, before anything is loaded.
 */
export function followedSources(prefix: string): Source[] {
  const path = process.env[`${prefix}_SETTINGS_FILE`]
  const url = process.env[`${prefix}_CONSUL_URL`]
  const token = consulToken(prefix)
  const followedFile = path ? [file(path, { optional: true })] : []
  const consul = url ? [consulKv({ url, token, prefix: 'film-store', optional: true })] : []
  return [...followedFile, dotenv('.env', { prefix }), ...consul, env({ prefix }), args()]
}

function consulToken(prefix: string): string | undefined {
  const path = process.env[`${prefix}_CONSUL_TOKEN_FILE`]
  return path ? readFileSync(path, 'utf8').trimEnd() : process.env[`${prefix}_CONSUL_TOKEN`]
}

/** What stands beside a price. A promotion is a label: prices are those of the catalog. */
export interface Shop {
  readonly currency: string
  promotion(): Promise<boolean>
}

export async function openShop<T extends { readonly shop: z.infer<typeof shopSettings> }>(config: Config<T>): Promise<Shop> {
  await OpenFeature.setProviderAndWait(flags(config, (current) => current.shop.flags))
  const client = OpenFeature.getClient()
  // The question says nothing of who asks or when, so the answer stays for as long as the flags do, and each page asks for it.
  let asked: { readonly flags: unknown; readonly answer: Promise<boolean> } | undefined
  return {
    get currency() {
      return config.current.shop.currency
    },
    promotion() {
      const { flags } = config.current.shop
      if (asked?.flags !== flags) asked = { flags, answer: client.getBooleanValue('promotion', false) }
      return asked!.answer
    },
  }
}
