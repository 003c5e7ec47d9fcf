import { rename, writeFile } from 'node:fs/promises'
import { parseMetrics, sum } from './metrics.ts'
import { askAdmin } from './services.ts'
import type { Store } from './store.ts'

/** What every instance of the store's fronts shows beside its prices. */
export type ShopSetting = 'currency' | 'flags'

const followers = ['catalog-api', 'orders-api']
const withinMs = 60_000

export const promotionOn = {
  flags: { promotion: { state: 'ENABLED', variants: { on: true, off: false }, defaultVariant: 'on' } },
}

/** The file that services follow where there is no Consul; replaced as a whole. */
export function shopFile(path: string): (setting: ShopSetting, value: unknown) => Promise<void> {
  const shop: Partial<Record<ShopSetting, unknown>> = {}
  return async (setting, value) => {
    shop[setting] = value
    await writeFile(`${path}.new`, JSON.stringify({ shop }))
    await rename(`${path}.new`, path)
  }
}

export const consulValue = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

export function shopInConsul(url: string): (setting: ShopSetting, value: unknown) => Promise<void> {
  return async (setting, value) => {
    const answer = await fetch(`${url}/v1/kv/film-store/shop/${setting}`, { method: 'PUT', body: consulValue(value) })
    if (!answer.ok) throw new Error(`Consul answered ${answer.status} to a change of ${setting}`)
  }
}

/** Changes the currency, then turns the promotion on; the longer of both times until the last instance has it, and pages show it. */
export async function reconfigure(store: Store, filmId: number, signal: AbortSignal): Promise<number> {
  const durations: number[] = []
  for (const [setting, value, shown] of [
    ['currency', 'USD', { currency: 'USD' }],
    ['flags', promotionOn, { promotion: true }],
  ] as const) {
    const before = await revisions(store)
    const startedAt = performance.now()
    await store.setShop(setting, value)
    for (;;) {
      signal.throwIfAborted()
      const now = await revisions(store)
      const everywhere = now.every((revision, index) => revision > before[index]!)
      if (everywhere && (await pagesShow(store, filmId, shown))) break
      if (performance.now() - startedAt > withinMs) throw new Error(`not every instance has the new ${setting} after ${withinMs / 1000} s`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    durations.push(performance.now() - startedAt)
  }
  return Math.max(...durations)
}

async function revisions({ specs, adminToken }: Store): Promise<number[]> {
  const following = specs.filter(({ name }) => followers.includes(name))
  return Promise.all(
    following.map(async (spec) => {
      const answer = await askAdmin(spec, '/metrics', adminToken)
      return sum(parseMetrics(await answer.text()), 'platform_config_revision')
    }),
  )
}

async function pagesShow({ catalogUrls }: Store, filmId: number, shown: object): Promise<boolean> {
  const pages = await Promise.all(
    catalogUrls.map(
      async (url) => (await (await fetch(`${url}/films/${filmId}`, { signal: AbortSignal.timeout(5_000) })).json()) as object,
    ),
  )
  return pages.every((page) => Object.entries(shown).every(([key, value]) => (page as Record<string, unknown>)[key] === value))
}
