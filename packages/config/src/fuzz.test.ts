import { inspect } from 'node:util'
import fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import { parseEnv } from 'node:util'
import { z } from 'zod'
import { ConfigError, defineConfig, env, envTemplate, secret, type Source } from './index.ts'
import { mergeLayers } from './layers.ts'
import { inspectTree } from './tree.ts'

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)
const runs = { seed, numRuns: 300 }
const note = `FUZZ_SEED=${seed}`

/** Keys as they come, and those that mean something to an object. */
const key = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom('a', 'b', 'labels', 'port', 'token', 'toString', 'hasOwnProperty', 'valueOf', 'call', 'length', 'name', ''),
  },
  fc.constantFrom('__proto__', 'constructor', 'prototype', '__defineGetter__'),
  fc.string(),
)
const scalar = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null))
const tree = fc.letrec<{ node: Record<string, unknown> }>((tie) => ({
  node: fc.dictionary(
    key,
    fc.oneof({ depthSize: 'small', withCrossShrink: true }, scalar, fc.array(scalar, { maxLength: 3 }), tie('node')),
    { maxKeys: 5, noNullPrototype: false },
  ),
})).node

const fingerprint = () =>
  [Object, Array, Function, String, Number].flatMap(({ prototype }) =>
    Reflect.ownKeys(prototype).map((name) => {
      const held = Object.getOwnPropertyDescriptor(prototype, name)?.value as unknown
      return [name, typeof held === 'function' ? Reflect.ownKeys(held).length : held]
    }),
  )

const definition = defineConfig({
  schema: z.looseObject({
    port: z.number().optional(),
    token: secret(z.string().min(3)).optional(),
    labels: z.record(z.string(), z.unknown()).optional(),
    a: z.object({ b: z.coerce.number().optional() }).optional(),
  }),
})

it(`no key, value or layer reaches a prototype or ends in anything but settings or one ConfigError (${note})`, async () => {
  const before = fingerprint()
  await fc.assert(
    fc.asyncProperty(fc.array(tree, { minLength: 1, maxLength: 4 }), async (trees) => {
      const sources = trees.map((given, index): Source => ({ name: `s${index}`, read: () => Promise.resolve(given) }))
      await definition.load({ sources }).then(
        (config) => config.close(),
        (error: unknown) => expect(ConfigError.isInstance(error)).toBe(true),
      )
      expect(fingerprint()).toEqual(before)
    }),
    runs,
  )
})

it(`merging is what it says: key by key, the stronger one wins, everything has an origin (${note})`, () => {
  const bare = (value: unknown): unknown =>
    typeof value !== 'object' || value === null || Array.isArray(value)
      ? value
      : Object.fromEntries(Object.entries(value).map(([name, child]) => [name, bare(child)]))
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  /** Says it the slow way. */
  const merge = (weak: unknown, strong: unknown): unknown => {
    if (!isObject(strong)) return strong
    const merged = new Map(isObject(weak) ? Object.entries(weak) : [])
    for (const [name, value] of Object.entries(strong)) merged.set(name, merge(merged.get(name), value))
    return Object.fromEntries(merged)
  }
  const safe = tree.filter((given) => inspectTree(given).rejected.length === 0)
  fc.assert(
    fc.property(fc.array(safe, { minLength: 1, maxLength: 4 }), (trees) => {
      const layers = trees.map((given, index) => ({
        leaves: inspectTree(given).leaves,
        origin: () => ({ source: `s${index}`, location: `s${index}` }),
      }))
      expect(bare(mergeLayers(layers).tree)).toEqual(trees.reduce<unknown>((weak, strong) => merge(weak, strong), {}))
    }),
    runs,
  )
})

it(`no secret shows in an error, a warning, an explanation or a printed configuration (${note})`, async () => {
  const text = fc.string({ minLength: 8, maxLength: 40 }).map((given) => `S3${given.replaceAll(/\s/g, 'x')}T!`)
  await fc.assert(
    fc.asyncProperty(text, tree, async (hidden, rest) => {
      const strict = defineConfig({
        schema: z.object({ token: secret(z.string().regex(/^never$/)), inner: z.object({ key: secret(z.string()) }).optional() }),
      })
      const wrong: Source = { name: 'wrong', read: () => Promise.resolve({ ...rest, token: hidden, inner: { key: [hidden] } }) }
      const error: unknown = await strict.load({ sources: [wrong] }).catch((reason: unknown) => reason)
      expect(inspect(error, { depth: 9 })).not.toContain(hidden)
      const open = defineConfig({ schema: z.looseObject({ token: secret(z.string()) }) })
      const config = await open.load({ sources: [{ name: 'right', read: () => Promise.resolve({ token: hidden }) }] })
      const shown = [
        JSON.stringify(config.current),
        inspect(config.current, { depth: 9 }),
        JSON.stringify(config.explain('token')),
        String(config.current.token),
      ]
      // Half of a secret in the wrong place is a name that nobody knows.
      const misplaced = defineConfig({ schema: z.object({ token: secret(z.string()).optional() }) })
      const tree = { [hidden]: 1, inner: { [hidden]: 'x' } }
      const warned = await misplaced.load({ sources: [{ name: 'misplaced', read: () => Promise.resolve(tree) }] })
      shown.push(inspect(warned.warnings, { depth: 9 }))
      for (const one of shown) expect(one).not.toContain(hidden)
      await config.close()
      await warned.close()
    }),
    runs,
  )
})

it(`a template that is filled in with its own defaults gives the defaults (${note})`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string(),
      fc.array(fc.string({ unit: fc.constantFrom('a', ',', '[', '"', "'", '`', '\\', '#', ' ', '$', '\n') })),
      fc.oneof(fc.integer(), fc.double({ noNaN: true }), fc.double({ noNaN: true, min: -1e-6, max: 1e-6 })),
      fc.bigInt(),
      fc.option(fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) })),
      fc.string(),
      async (text, list, number, big, date, description) => {
        const schema = z.object({
          text: z
            .string()
            .default(text)
            .describe(description || 'x'),
          list: z.array(z.string()).default(list),
          number: z.union([z.number(), z.literal([Infinity, -Infinity])]).default(number),
          big: z.bigint().default(big),
          date: z.coerce.date().nullable().default(date),
          last: z.boolean().default(true),
        })
        const template = envTemplate(defineConfig({ schema }), { prefix: 'APP' })
        const filled = template.replaceAll(/^# (?=APP_)/gm, '')
        const written = Object.fromEntries(Object.entries(parseEnv(filled)).filter(([name]) => name.startsWith('APP_')))
        // A text that no quotes can hold, or of several lines, is left out or stays commented out, and is then the default.
        const config = await defineConfig({ schema }).load({ sources: [env({ prefix: 'APP', variables: written })] })
        const isOneLine = !/[\n\r\0]/.test(text)
        expect({ ...config.current, ...(isOneLine ? {} : { text: undefined }) }).toEqual({
          list,
          number: number === 0 ? 0 : number,
          big,
          date,
          last: true,
          text: isOneLine ? text : undefined,
        })
        await config.close()
      },
    ),
    { ...runs, numRuns: 200 },
  )
})

/** What a step of somebody else's may do. */
const behaviour = fc.constantFrom('resolves', 'rejects', 'throws', 'hangs', 'resolves late')
type Behaviour = 'resolves' | 'rejects' | 'throws' | 'hangs' | 'resolves late'
function behave<T>(how: Behaviour, value: T): Promise<T> {
  if (how === 'throws') throw new Error('thrown')
  if (how === 'rejects') return Promise.reject(new Error('rejected'))
  if (how === 'hangs') return new Promise(() => {})
  return how === 'resolves' ? Promise.resolve(value) : new Promise((resolve) => setTimeout(resolve, 60, value))
}

/** The virtual clock goes on until the work has ended: a busy machine is no reason to be late. */
async function onClock<T>(work: Promise<T>): Promise<T> {
  let isOver = false
  const over = (): void => void (isOver = true)
  work.then(over, over)
  while (!isOver) {
    await vi.advanceTimersByTimeAsync(10)
    await new Promise(setImmediate)
  }
  return work
}

it(`whatever a source, a rule, a listener, a commit and an observer do: every load and reload ends, in one of the outcomes (${note})`, async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const steps = fc.record({ source: behaviour, rule: behaviour, prepare: behaviour, commit: behaviour, observer: behaviour })
  await fc.assert(
    fc.asyncProperty(steps, async ({ source, rule, prepare, commit, observer }) => {
      let isReload = false
      const schema = z.object({ size: z.number().refine(() => behave(isReload ? rule : 'resolves', true)) })
      const from: Source = { name: 's', read: () => behave(isReload ? source : 'resolves', { size: isReload ? 2 : 1 }) }
      const config = await defineConfig({ schema }).load({ sources: [from], readTimeoutMs: 30, prepareTimeoutMs: 30 })
      config.live(({ size }) => size).onChange(() => behave(prepare, { commit: () => behave(commit, undefined) }))
      config.onReload((() => behave(observer, undefined)) as () => void)
      isReload = true
      const { outcome } = await onClock(config.reload())
      const isRead = source === 'resolves' && rule === 'resolves'
      expect(outcome).toBe(isRead ? (prepare === 'resolves' ? 'applied' : 'vetoed') : 'invalid')
      expect(config.current.size).toBe(outcome === 'applied' ? 2 : 1)
      await onClock(config.close())
    }),
    { ...runs, numRuns: 60 },
  )
})
