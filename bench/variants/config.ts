/** One variant in a process of its own: `node variants/config.ts <measure> <variant>` prints what one operation takes, in nanoseconds. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FlagdCore } from '@openfeature/flagd-core'
import { OpenFeature } from '@openfeature/server-sdk'
import { defineConfig, file, type Source } from '@platform/config'
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
/** CPU time, in nanoseconds: what other processes take of the machine does not count. */
function cpu(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1_000
}

function timed(operations: number, run: (count: number) => void): number {
  run(operations) // warm
  const startedAt = cpu()
  run(operations)
  return (cpu() - startedAt) / operations
}

async function timedAsync(operations: number, run: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < operations; i++) sink = await run()
  const startedAt = cpu()
  for (let i = 0; i < operations; i++) sink = await run()
  return (cpu() - startedAt) / operations
}

const many = 20_000_000
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

/** What is loaded in turns, made beforehand: both sides get it for nothing. */
function turns(): () => [file: Record<string, unknown>, variables: Record<string, unknown>] {
  const given = [0, 2].map((salt): [Record<string, unknown>, Record<string, unknown>] => [tree(1_000, salt), overrides(salt)])
  let turn = 0
  return () => given[turn++ % 2]!
}

const reloads: Record<string, () => Promise<number>> = {
  async ours() {
    const next = turns()
    let now = next()
    const config = await defineConfig({ schema: zodSchema(1_000) }).load({ sources: [source(() => now[0]), source(() => now[1])] })
    return timedAsync(200, async () => {
      now = next()
      const { outcome } = await config.reload()
      if (outcome !== 'applied') throw new Error(outcome)
    })
  },
  convict() {
    const next = turns()
    const schema = convictSchema(1_000)
    return timedAsync(200, () => {
      const [settings, variables] = next()
      convict(schema, { env: {}, args: [] }).load(settings).load(variables).validate({ allowed: 'strict' })
      return Promise.resolve()
    })
  },
}

const starts: Record<string, () => Promise<number>> = {
  /** What nobody can save who takes schemas of zod: to make one, and its first check, for which zod compiles it. */
  'zod alone'() {
    const startedAt = cpu()
    zodSchema(200).parse(tree(200))
    return Promise.resolve(cpu() - startedAt)
  },
  async ours() {
    const startedAt = cpu()
    await defineConfig({ schema: zodSchema(200) }).load({ sources: [source(() => tree(200))] })
    return cpu() - startedAt
  },
  convict() {
    const startedAt = cpu()
    convict(convictSchema(200), { env: {}, args: [] }).load(tree(200)).validate()
    return Promise.resolve(cpu() - startedAt)
  },
}

/** Definition and load; the schema itself is zod's. */
async function startOf(count: number): Promise<number> {
  const schema = zodSchema(count)
  const settings = tree(count)
  const startedAt = cpu()
  await defineConfig({ schema }).load({ sources: [source(() => settings)] })
  return cpu() - startedAt
}
const sizes: Record<string, () => Promise<number>> = {
  '5,000': () => startOf(5_000),
  '20,000': () => startOf(20_000),
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

/** From the replacement of a file to the snapshot in the last of four instances; the 99th percentile of 100 changes, by the clock. */
const changes: Record<string, () => Promise<number>> = {
  async 'file, 4 instances'() {
    const directory = mkdtempSync(join(tmpdir(), 'platform-bench-'))
    const path = join(directory, 'app.json')
    writeFileSync(path, '{"size":0}')
    const definition = defineConfig({ schema: z.object({ size: z.number() }) })
    const configs = await Promise.all(Array.from({ length: 4 }, () => definition.load({ sources: [file(path)], watch: true })))
    const delays: number[] = []
    for (let size = 1; size <= 100; size++) {
      const everywhere = Promise.all(
        configs.map(
          (config) =>
            new Promise<void>((resolve) => {
              const unsubscribe = config.onReload(() => {
                if (config.current.size !== size) return
                unsubscribe()
                resolve()
              })
            }),
        ),
      )
      const startedAt = process.hrtime.bigint()
      writeFileSync(`${path}.new`, JSON.stringify({ size }))
      renameSync(`${path}.new`, path)
      const hold = setInterval(() => {}, 1_000)
      await everywhere
      clearInterval(hold)
      delays.push(Number(process.hrtime.bigint() - startedAt))
    }
    await Promise.all(configs.map((config) => config.close()))
    rmSync(directory, { recursive: true })
    return delays.toSorted((a, b) => a - b)[98]!
  },
}

const all: Record<string, Record<string, () => Promise<number>>> = { reads, reloads, starts, sizes, evaluations, changes }
const run = all[measure!]?.[variant!]
if (run === undefined) throw new Error(`there is no ${measure} ${variant}`)
console.log(JSON.stringify({ ns: await run(), checked: sink !== null }))
