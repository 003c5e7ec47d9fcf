import convict from 'convict'
import { describe, expect, it } from 'vitest'
import { fromConvict } from './convict.ts'
import { args, type ConfigError, defineConfig, env, type Source } from './index.ts'

convict.addFormat({
  name: 'even',
  validate(value: unknown) {
    if (typeof value !== 'number' || value % 2 !== 0) throw new Error(`${String(value)} is not even`)
  },
  coerce: (value: unknown) => Number(value),
})

/** As programs have them. */
const schema = {
  env: { doc: 'The environment', format: ['production', 'development', 'test'], default: 'development', env: 'NODE_ENV' },
  port: { doc: 'The port', format: 'port', default: 8080, env: 'PORT', arg: 'listen' },
  db: {
    host: { doc: 'Host', format: String, default: 'localhost', env: 'DB_HOST' },
    password: { doc: 'Password', format: String, default: 'none', sensitive: true, env: 'DB_PASSWORD' },
    pool: { size: { format: 'nat', default: 10, env: 'DB_POOL_SIZE' } },
  },
  tags: { format: Array, default: [] as string[], env: 'TAGS' },
  limits: { format: Object, default: {} as Record<string, unknown> },
  ratio: { format: Number, default: 0.5, env: 'RATIO' },
  verbose: { format: Boolean, default: false, env: 'VERBOSE' },
  workers: { format: 'even', default: 2, env: 'WORKERS' },
  proxy: { format: String, default: null as string | null, nullable: true, env: 'PROXY' },
  bare: 'text',
  url: { format: (value: unknown) => void new URL(String(value)), default: 'http://localhost', env: 'URL' },
}
type Values = convict.Schema<Record<string, unknown>>
const definition = defineConfig({ schema: fromConvict(schema) })

const revealed = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_key, held: unknown) =>
      typeof (held as { reveal?: unknown } | null)?.reveal === 'function' ? (held as { reveal(): unknown }).reveal() : held,
    ).replaceAll('"[secret]"', '"none"'),
  )

async function ours(tree: Record<string, unknown>, variables: Record<string, string>): Promise<unknown> {
  const sources: Source[] = [{ name: 'file', read: () => Promise.resolve(tree) }, env({ prefix: 'APP', variables })]
  return revealed((await definition.load({ sources })).current)
}

function theirs(tree: Record<string, unknown>, variables: Record<string, string>): unknown {
  const config = convict(schema as unknown as Values, { env: variables, args: [] })
  config.load(tree)
  // convict loads files over variables unless it is told again.
  const again = convict(schema as unknown as Values, { env: variables, args: [] }).load(tree)
  again.validate({ allowed: 'strict' })
  return JSON.parse(JSON.stringify(again.getProperties()))
}

describe('the same schema and inputs', () => {
  it.each<[string, Record<string, unknown>, Record<string, string>]>([
    ['nothing', {}, {}],
    ['files', { port: 80, db: { host: 'db', pool: { size: 0 } }, tags: ['a', 'b'], limits: { x: 1 }, verbose: true }, {}],
    [
      'variables',
      {},
      {
        PORT: '81',
        DB_HOST: 'x',
        DB_POOL_SIZE: '3',
        TAGS: 'a,b',
        RATIO: '0.25',
        VERBOSE: 'true',
        WORKERS: '4',
        PROXY: 'p',
        URL: 'http://x',
      },
    ],
    ['both', { port: 80, env: 'production', ratio: 1 }, { PORT: '81', NODE_ENV: 'test', VERBOSE: 'false' }],
    ['null where it may be', { proxy: null }, {}],
  ])('give the same settings: %s', async (_name, tree, variables) => {
    expect(await ours(tree, variables)).toEqual(theirs(tree, variables))
  })

  it.each<[string, Record<string, unknown>, Record<string, string>]>([
    ['port', { port: 70_000 }, {}],
    ['env', { env: 'staging' }, {}],
    ['db.pool.size', { db: { pool: { size: -1 } } }, {}],
    ['workers', { workers: 3 }, {}],
    ['url', { url: 'no url' }, {}],
  ])('are refused by both, here by the name of the setting and without its value: %s', async (path, tree, variables) => {
    expect(() => theirs(tree, variables)).toThrow(path)
    const error = await ours(tree, variables).catch((reason: unknown) => reason)
    expect((error as ConfigError).faults.map((fault) => fault.path)).toEqual([path])
  })
})

describe('what is stricter here', () => {
  it.each([{ PORT: '8080abc' }, { VERBOSE: 'maybe' }, { RATIO: '5x' }])('texts: %j', async (variables) => {
    expect(() => theirs({}, variables as unknown as Record<string, string>)).not.toThrow()
    await expect(ours({}, variables as unknown as Record<string, string>)).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' })
  })
})

it('null as a default is a setting that must be given, an unknown format one of the schema', async () => {
  const required = fromConvict({ db: { url: { format: String, default: null, env: 'DATABASE_URL' } } })
  const error = await defineConfig({ schema: required })
    .load({ sources: [env({ prefix: 'APP', variables: {} })] })
    .catch((reason: unknown) => reason)
  expect((error as Error).message).toContain('db.url')
  const given = await defineConfig({ schema: required }).load({ sources: [env({ prefix: 'APP', variables: { DATABASE_URL: 'x' } })] })
  expect(given.current).toEqual({ db: { url: 'x' } })
  expect(() => fromConvict({ a: { format: 'no such format', default: 1 } })).toThrow(
    expect.objectContaining({ code: 'ERR_CONFIG_SCHEMA', message: expect.stringContaining('"a"') }),
  )
})

it('arg is a name on the command line, sensitive a secret', async () => {
  const config = await definition.load({ sources: [args(['--listen', '99'])] })
  expect(config.current).toMatchObject({ port: 99 })
  expect(JSON.stringify(config.current)).toContain('"password":"[secret]"')
  expect([...config.secrets()]).toEqual(['none'])
})
