import { type EventDetails, InMemoryProvider, OpenFeature, ProviderEvents, type ServerProviderEvents } from '@openfeature/server-sdk'
import { afterEach, expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import { flags } from './flags.ts'
import { defineConfig, type Source } from './index.ts'

const definition = defineConfig({ schema: z.object({ flags: z.unknown().optional() }) })
const onOff = { on: true, off: false }
const document = {
  $evaluators: { staff: { ends_with: [{ var: 'email' }, '@shop.example'] } },
  flags: {
    promotion: { state: 'ENABLED', variants: onOff, defaultVariant: 'on' },
    off: { state: 'DISABLED', variants: onOff, defaultVariant: 'on' },
    banner: {
      state: 'ENABLED',
      variants: { plain: 'plain', staff: 'for staff' },
      defaultVariant: 'plain',
      targeting: { if: [{ $ref: 'staff' }, 'staff', null] },
    },
    rollout: {
      state: 'ENABLED',
      variants: onOff,
      defaultVariant: 'off',
      targeting: { fractional: [{ cat: [{ var: '$flagd.flagKey' }, { var: 'targetingKey' }] }, ['on', 10], ['off', 90]] },
    },
    limits: { state: 'ENABLED', variants: { small: { size: 3 }, number: { size: 4 } }, defaultVariant: 'small' },
    rate: { state: 'ENABLED', variants: { low: 0.5 }, defaultVariant: 'low' },
  } as Record<string, unknown>,
}

async function provided(first: unknown) {
  const state = { tree: { flags: first } }
  const source: Source = { name: 'hand', read: () => Promise.resolve(state.tree) }
  const config = await definition.load({ sources: [source] })
  onTestFinished(() => config.close())
  const provider = flags(config, (current) => current.flags)
  await OpenFeature.setProviderAndWait(provider)
  return {
    config,
    client: OpenFeature.getClient(),
    async change(next: unknown) {
      state.tree = { flags: next }
      return config.reload()
    },
  }
}
afterEach(() => OpenFeature.setProviderAndWait(new InMemoryProvider({})))

it('evaluates the four types, targeting and shared evaluators, with reasons', async () => {
  const { client } = await provided(document)
  expect(await client.getBooleanDetails('promotion', false)).toMatchObject({ value: true, variant: 'on', reason: 'STATIC' })
  expect(await client.getStringDetails('banner', 'none', { email: 'a@shop.example' })).toMatchObject({
    value: 'for staff',
    reason: 'TARGETING_MATCH',
  })
  expect(await client.getStringDetails('banner', 'none', { email: 'a@else.example' })).toMatchObject({ value: 'plain', reason: 'DEFAULT' })
  expect(await client.getObjectValue('limits', {})).toEqual({ size: 3 })
  expect(await client.getNumberValue('rate', 1)).toBe(0.5)
})

it('rolls out to a share of users, the same ones each time, and to more of them when the share grows', async () => {
  const { client, change } = await provided(document)
  const users = Array.from({ length: 5_000 }, (_, index) => `user-${index}`)
  const chosen = async () => {
    const answers = await Promise.all(users.map((targetingKey) => client.getBooleanValue('rollout', false, { targetingKey })))
    return users.filter((_, index) => answers[index])
  }
  const first = await chosen()
  expect(first.length / users.length).toBeGreaterThan(0.08)
  expect(first.length / users.length).toBeLessThan(0.12)
  expect(await chosen()).toEqual(first)
  const wider = structuredClone(document)
  ;(wider.flags['rollout'] as { targeting: { fractional: unknown[] } }).targeting.fractional.splice(1, 2, ['on', 30], ['off', 70])
  await change(wider)
  const more = new Set(await chosen())
  expect(more.size / users.length).toBeGreaterThan(0.26)
  expect(
    first.filter((user) => !more.has(user)),
    'nobody loses it',
  ).toEqual([])
})

it.each([
  ['no object', 7],
  ['no variants', { state: 'ENABLED', defaultVariant: 'on' }],
  ['a default that is no variant', { state: 'ENABLED', variants: onOff, defaultVariant: 'maybe' }],
  ['a targeting that is none', { state: 'ENABLED', variants: onOff, defaultVariant: 'on', targeting: { fractional: 'x' } }],
  ['a wrong state', { state: 'SOMETIMES', variants: onOff, defaultVariant: 'on' }],
])('a flag with %s gives the default of its caller with a reason, and leaves the others alone', async (_name, flag) => {
  const { client } = await provided({ ...document, flags: { ...document.flags, faulty: flag } })
  for (const fallback of [true, false]) {
    const details = await client.getBooleanDetails('faulty', fallback)
    expect(details).toMatchObject({ value: fallback, reason: 'ERROR', errorCode: 'PARSE_ERROR' })
    expect(details.errorMessage).toBeTruthy()
  }
  expect(await client.getBooleanValue('promotion', false)).toBe(true)
})

it('an unknown flag, another type, a disabled flag and no document give the default', async () => {
  const { client, change } = await provided(document)
  expect(await client.getBooleanDetails('unknown', true)).toMatchObject({ value: true, errorCode: 'FLAG_NOT_FOUND' })
  expect(await client.getStringDetails('promotion', 'x')).toMatchObject({ value: 'x', errorCode: 'TYPE_MISMATCH' })
  expect(await client.getBooleanValue('off', false)).toBe(false)
  await change({ flagz: {} })
  expect(await client.getBooleanDetails('promotion', false)).toMatchObject({ value: false, reason: 'ERROR', errorCode: 'PARSE_ERROR' })
  await change(JSON.stringify(document))
  expect(await client.getBooleanValue('promotion', false)).toBe(true)
  await change(undefined)
  expect(await client.getBooleanDetails('promotion', false)).toMatchObject({ value: false, errorCode: 'FLAG_NOT_FOUND' })
})

it('tells which flags changed, after the switch; a pinned request sees those of its snapshot', async () => {
  const { client, change, config } = await provided(document)
  const told: unknown[] = []
  const handler = async (details: EventDetails<ServerProviderEvents.ConfigurationChanged> | undefined) => {
    told.push(details?.flagsChanged, await client.getBooleanValue('promotion', true))
  }
  client.addHandler(ProviderEvents.ConfigurationChanged, handler)
  onTestFinished(() => client.removeHandler(ProviderEvents.ConfigurationChanged, handler))
  const turned = { ...document, flags: { ...document.flags, promotion: { state: 'ENABLED', variants: onOff, defaultVariant: 'off' } } }
  await change(turned)
  await expect.poll(() => told).toEqual([['promotion'], false])
  await config.pinned(async () => {
    await change(document)
    expect(await client.getBooleanValue('promotion', true)).toBe(false)
  })
  expect(await client.getBooleanValue('promotion', false)).toBe(true)
})
