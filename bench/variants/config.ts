/** One variant in a process of its own: `node variants/config.ts <measure> <variant>` prints what one operation takes, in nanoseconds. */
import { FlagdCore } from '@openfeature/flagd-core'
import { OpenFeature } from '@openfeature/server-sdk'
import { defineConfig, type Source } from '@platform/config'
import { flags } from '@platform/config/flags'
import convict from 'convict'
import { z } from 'zod'

const [measure, variant] = process.argv.slice(2)

/** `count` settings in objects of ten. */
function tree(count: number, salt = 0): Record<string, Record<string, unknown>> {
  const groups: Record<string, Record<string, unknown>> = {}
  for (let i = 0; i < count; i++) (groups[`group${Math.floor(i / 10)}`] ??= {})[`key${i % 10}`] = i % 2 === 0 ? i + salt : `text ${i}`
  return groups
}

/** A second, stronger layer: ten settings in ten objects, as variables give them. */
function overrides(salt: number): Record<string, Record<string, unknown>> {
  return Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`group${i}`, { key4: i + salt + 1 }]))
}

function zodSchema(count: number) {
  const groups = Object.entries(tree(count)).map(([name, keys]) => [
    name,
    z.object(Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, typeof value === 'number' ? z.number() : z.string()]))),
  ])
  return z.object(Object.fromEntries(groups) as Record<string, z.ZodObject<Record<string, z.ZodType>>>)
}

function convictSchema(count: number) {
  const groups = Object.entries(tree(count)).map(([name, keys]) => [
    name,
    Object.fromEntries(
      Object.entries(keys).map(([key, value]) => [key, { format: typeof value === 'number' ? Number : String, default: value }]),
    ),
  ])
  return Object.fromEntries(groups) as Record<string, never>
}

let sink: unknown
function timed(operations: number, run: (count: number) => void): number {
  run(operations) // warm
  const startedAt = process.hrtime.bigint()
  run(operations)
  return Number(process.hrtime.bigint() - startedAt) / operations
}

async function timedAsync(operations: number, run: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < operations; i++) sink = await run()
  const startedAt = process.hrtime.bigint()
  for (let i = 0; i < operations; i++) sink = await run()
  return Number(process.hrtime.bigint() - startedAt) / operations
}

const many = 2_000_000
const reads: Record<string, () => Promise<number>> = {
  async ours() {
    const config = await defineConfig({ schema: z.object({ group3: z.object({ key4: z.number() }) }) }).load({
      sources: [source(() => tree(200))],
    })
    return timed(many, (count) => {
      let sum = 0
      for (let i = 0; i < count; i++) sum += config.current.group3.key4
      sink = sum
    })
  },
  async 'ours, changed and pinned'() {
    let salt = 0
    const config = await defineConfig({ schema: z.object({ group3: z.object({ key4: z.number() }) }) }).load({
      sources: [source(() => tree(200, salt))],
    })
    salt = 2
    await config.reload()
    return config.pinned(() =>
      timed(many, (count) => {
        let sum = 0
        for (let i = 0; i < count; i++) sum += config.current.group3.key4
        sink = sum
      }),
    )
  },
  convict() {
    const config = convict(convictSchema(200)).load(tree(200)) as unknown as { get(path: string): number }
    return Promise.resolve(
      timed(many / 4, (count) => {
        let sum = 0
        for (let i = 0; i < count; i++) sum += config.get('group3.key4')
        sink = sum
      }),
    )
  },
  async 'node-config'() {
    process.env['NODE_CONFIG'] = JSON.stringify(tree(200))
    process.env['SUPPRESS_NO_CONFIG_WARNING'] = '1'
    const { default: config } = (await import('config')) as unknown as { default: { get(path: string): number } }
    return timed(many / 4, (count) => {
      let sum = 0
      for (let i = 0; i < count; i++) sum += config.get('group3.key4')
      sink = sum
    })
  },
  async '@nestjs/config'() {
    await import('reflect-metadata')
    const { ConfigService } = await import('@nestjs/config')
    const config = new ConfigService<Record<string, unknown>>(tree(200))
    return timed(many / 4, (count) => {
      let sum = 0
      for (let i = 0; i < count; i++) sum += config.get<number>('group3.key4')!
      sink = sum
    })
  },
}

function source(give: () => Record<string, unknown>): Source {
  return { name: 'memory', read: () => Promise.resolve(give()) }
}

const reloads: Record<string, () => Promise<number>> = {
  async ours() {
    let salt = 0
    const sources = [source(() => tree(1_000, salt)), source(() => overrides(salt))]
    const config = await defineConfig({ schema: zodSchema(1_000) }).load({ sources })
    return timedAsync(50, async () => {
      salt += 2
      const { outcome } = await config.reload()
      if (outcome !== 'applied') throw new Error(outcome)
    })
  },
  convict() {
    let salt = 0
    const schema = convictSchema(1_000)
    return timedAsync(50, () => {
      salt += 2
      convict(schema, { env: {}, args: [] }).load(tree(1_000, salt)).validate({ allowed: 'strict' })
      return Promise.resolve()
    })
  },
}

const starts: Record<string, () => Promise<number>> = {
  async ours() {
    const startedAt = process.hrtime.bigint()
    await defineConfig({ schema: zodSchema(200) }).load({ sources: [source(() => tree(200))] })
    return Number(process.hrtime.bigint() - startedAt)
  },
  convict() {
    const startedAt = process.hrtime.bigint()
    convict(convictSchema(200), { env: {}, args: [] }).load(tree(200)).validate()
    return Promise.resolve(Number(process.hrtime.bigint() - startedAt))
  },
}

const document = {
  flags: {
    rollout: {
      state: 'ENABLED',
      variants: { on: true, off: false },
      defaultVariant: 'off',
      targeting: { fractional: [{ var: 'targetingKey' }, ['on', 10], ['off', 90]] },
    },
  },
}
const context = { targetingKey: 'customer-7' }
const evaluations: Record<string, () => Promise<number>> = {
  'flagd-core direct'() {
    const core = new FlagdCore()
    core.setConfigurations(JSON.stringify(document))
    return Promise.resolve(
      timed(200_000, (count) => {
        for (let i = 0; i < count; i++) sink = core.resolveBooleanEvaluation('rollout', false, context)
      }),
    )
  },
  async 'our provider'() {
    const config = await defineConfig({ schema: z.object({ flags: z.unknown() }) }).load({ sources: [source(() => ({ flags: document }))] })
    const provider = flags(config, (current) => current.flags)
    const logger = { debug() {}, info() {}, warn() {}, error() {} }
    return timedAsync(100_000, () => provider.resolveBooleanEvaluation('rollout', false, context, logger))
  },
  async 'through OpenFeature'() {
    const config = await defineConfig({ schema: z.object({ flags: z.unknown() }) }).load({ sources: [source(() => ({ flags: document }))] })
    await OpenFeature.setProviderAndWait(flags(config, (current) => current.flags))
    const client = OpenFeature.getClient()
    return timedAsync(50_000, () => client.getBooleanValue('rollout', false, context))
  },
}

const all: Record<string, Record<string, () => Promise<number>>> = { reads, reloads, starts, evaluations }
const run = all[measure!]?.[variant!]
if (run === undefined) throw new Error(`there is no ${measure} ${variant}`)
console.log(JSON.stringify({ ns: await run(), checked: sink !== null }))
