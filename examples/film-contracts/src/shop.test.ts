import { defineConfig, type Source } from '@platform/config'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { openShop, shopSettings } from './shop.ts'

const promotion = (variant: 'on' | 'off') => ({
  flags: { promotion: { state: 'ENABLED', variants: { on: true, off: false }, defaultVariant: variant } },
})

it('shows what the settings say now, also after a change', async () => {
  let text: { shop: object } = { shop: { currency: 'EUR', flags: promotion('off') } }
  let changed = () => {}
  const source: Source = {
    name: 'test',
    read: () => Promise.resolve(text),
    watch(notify) {
      changed = notify
      return () => {}
    },
  }
  const config = await defineConfig({ schema: z.object({ shop: shopSettings }) }).load({ sources: [source], watch: true })
  const shop = await openShop(config)
  expect([shop.currency, await shop.promotion(), await shop.promotion()]).toEqual(['EUR', false, false])
  text = { shop: { currency: 'USD', flags: promotion('on') } }
  changed()
  await expect.poll(() => shop.currency).toBe('USD')
  expect(await shop.promotion()).toBe(true)
  await config.close()
})
