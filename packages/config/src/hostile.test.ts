import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { args, ConfigError, defineConfig, dotenv, env, file, files, secret, secretFiles, type Source } from './index.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-config-'))
})
afterEach(() => rmSync(directory, { recursive: true }))
const write = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(directory, name), content)
  return join(directory, name)
}
const open = defineConfig({ schema: z.looseObject({}) })
const small = defineConfig({ schema: z.object({ a: z.string().optional(), token: secret(z.string()).optional() }) })
const faultsOf = async (source: Source, definition: Pick<typeof small, 'load'> = open as never) => {
  const error = await definition.load({ sources: [source] }).then(
    () => expect.fail('it loaded'),
    (reason: unknown) => reason,
  )
  if (!ConfigError.isInstance(error)) throw error
  return error.faults.map(({ location, expected }) => [location?.replace(`${directory}/`, ''), expected])
}

describe('files', () => {
  const one = { json: '{"a":"1"}', yaml: 'a: "1"\n', toml: 'a = "1"\n' }
  const formats = Object.entries(one) as [keyof typeof one, string][]

  it.each(formats)('%s: 50 MB are refused without being read', async (extension) => {
    expect(await faultsOf(file(write(`large.${extension}`, Buffer.alloc(50_000_000, 0x20))))).toEqual([
      [`large.${extension}`, 'a file of at most 1048576 bytes'],
    ])
    const path = write(`size.${extension}`, one[extension])
    expect(await faultsOf(file(path, { maxBytes: 5 }))).toEqual([[`size.${extension}`, 'a file of at most 5 bytes']])
  })

  it.each([
    ['json', `{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`],
    ['json', `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`],
    ['yaml', `a: ${'['.repeat(10_000)}${']'.repeat(10_000)}`],
    ['yaml', `a: ${'{b: '.repeat(10_000)}1${'}'.repeat(10_000)}`],
    ['yaml', `${'- '.repeat(10_000)}1`],
    ['yaml', `${'? '.repeat(10_000)}1`],
    ['yaml', Array.from({ length: 1_300 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n')],
    ['toml', `a = ${'['.repeat(10_000)}${']'.repeat(10_000)}`],
    ['toml', `[${'a.'.repeat(10_000)}a]\nb = 1`],
  ])('%s: 10,000 levels are faults, and quickly (%#)', async (extension, text) => {
    const faults = await faultsOf(file(write(`deep.${extension}`, text)))
    expect([1, 2]).toContain(faults.length)
    expect(faults[0]![1]).toMatch(/^(at most 64 levels|fewer levels|valid TOML|valid YAML.*)$/)
  })

  it('yaml: a bomb of aliases is a fault', async () => {
    const bomb = [
      'a0: &a0 [x, x, x, x, x, x, x, x, x]',
      ...Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(', ')}]`),
    ]
    expect(await faultsOf(file(write('bomb.yaml', bomb.join('\n'))))).toEqual([['bomb.yaml', 'aliases that resolve, and not in masses']])
  })

  it.each(formats)('%s: a byte order mark and CRLF are fine; UTF-16 and NUL are faults', async (extension, text) => {
    const { current } = await open.load({ sources: [file(write(`bom.${extension}`, `\uFEFF${text.replaceAll('\n', '\r\n')}\r\n`))] })
    expect(current).toEqual({ a: '1' })
    for (const bytes of [Buffer.from(`\uFEFF${text}`, 'utf16le'), Buffer.from(`\uFEFF${text}`, 'utf16le').swap16()])
      expect(await faultsOf(file(write(`wide.${extension}`, bytes)))).toEqual([[`wide.${extension}`, 'text in UTF-8']])
    expect(await faultsOf(file(write(`nul.${extension}`, text.replace('1', '1\0'))))).toEqual([
      [`nul.${extension}`, 'text without NUL characters'],
    ])
  })

  it.each([
    ['json', '{"a":1,\n"a":2}', 2, 'each key once'],
    ['yaml', 'a: 1\na: 2\n', 2, 'each key once'],
    ['toml', 'a = 1\na = 2\n', 2, 'valid TOML'],
  ])('%s: a key that stands twice is a fault with its line', async (extension, text, line, expected) => {
    expect(await faultsOf(file(write(`twice.${extension}`, text)))).toEqual([[`twice.${extension}:${line}`, expected]])
  })

  it.each([
    ['json', '{"x":{"__proto__":{"polluted":1}}}'],
    ['yaml', 'x:\n  __proto__: { polluted: 1 }\n'],
    ['toml', '[x.__proto__]\npolluted = 1\n'],
    ['toml', 'x.constructor.prototype.polluted = 1\n'],
  ])('%s: a key that reaches a prototype is a fault (%#)', async (extension, text) => {
    const [[, expected] = []] = await faultsOf(file(write(`proto.${extension}`, text)))
    expect(expected).toBe('another key: this one is never accepted')
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('a directory and a pipe that nobody writes to are faults', async () => {
    const pipe = join(directory, 'pipe.yaml')
    execFileSync('mkfifo', [pipe])
    expect(await faultsOf(file(pipe))).toEqual([['pipe.yaml', 'a file, not a directory or a pipe']])
  })

  it.each([
    ['json', '{"n":1,\n"id":9007199254740993,"list":[9007199254740993],"text":9007199254740993}'],
    ['yaml', 'n: 1\nid: 9007199254740993\nlist: [9007199254740993]\ntext: 9007199254740993\n'],
    ['toml', 'n = 1\nid = 9007199254740993\nlist = [9007199254740993]\ntext = 9007199254740993\n'],
  ])('%s: an integer beyond what a number can hold is exact where the setting takes it, and a fault elsewhere', async (extension, text) => {
    const path = write(`a.${extension}`, text)
    const load = (id: z.ZodType, list: z.ZodType) =>
      defineConfig({ schema: z.object({ n: z.number(), id, list, text: z.coerce.string() }) }).load({ sources: [file(path)] })
    const { current } = await load(z.bigint(), z.array(z.coerce.bigint()))
    expect(current).toEqual({ n: 1, id: 9007199254740993n, list: [9007199254740993n], text: '9007199254740993' })
    const error = (await load(z.number(), z.array(z.number())).catch((reason: unknown) => reason)) as ConfigError
    expect(error.faults.map((fault) => [fault.path, fault.location?.replace(`${directory}/`, '')])).toEqual([
      ['id', `a.${extension}:2`],
      ['list.0', extension === 'json' ? 'a.json:2' : `a.${extension}:3`],
    ])
  })

  it('toml: says where settings stand, and gives its types', async () => {
    const text = '# settings\na = "1"\n\n[db.pool]\nmax-size = 5\n"odd key" = """\nb = 2\n"""\n[[list]]\nx = 1\n'
    const path = write('app.toml', text)
    const config = await open.load({ sources: [file(path)] })
    expect(config.current).toEqual({ a: '1', db: { pool: { 'max-size': 5, 'odd key': 'b = 2\n' } }, list: [{ x: 1 }] })
    expect(config.explain('db.pool.max-size').location).toBe(`${path}:5`)
    expect(config.explain('list').location).toBe(`${path}:9`)
  })

  it('for all environments come before those for one; one environment is one file', async () => {
    write('default.yaml', 'a: default\nb: 1\n')
    write('production.toml', 'a = "production"\n')
    const load = (environment: string) => open.load({ sources: files(directory, { environment }) })
    expect((await load('production')).current).toEqual({ a: 'production', b: 1 })
    expect((await load('staging')).current).toEqual({ a: 'default', b: 1 })
    write('production.json', '{}')
    await expect(load('production')).rejects.toThrow('not both')
    expect(() => files(directory, { environment: '../etc' })).toThrow('environment')
  })
})

describe('variables', () => {
  it('an .env with a byte order mark and CRLF is fine; a name that stands twice is a warning; NUL and UTF-16 are faults', async () => {
    const config = await small.load({ sources: [dotenv(write('.env', '\uFEFFAPP_A=1\r\nAPP_A=2\r\n'), { prefix: 'APP' })] })
    expect(config.current.a).toBe('2')
    expect(config.warnings).toMatchObject([{ path: 'APP_A', location: `${directory}/.env:2`, hint: 'the last one counts' }])
    expect(await faultsOf(dotenv(write('.nul', 'APP_A=1\0'), { prefix: 'APP' }), small)).toEqual([['.nul', 'text without NUL characters']])
    expect(await faultsOf(dotenv(write('.wide', Buffer.from('\uFEFFAPP_A=1', 'utf16le')), { prefix: 'APP' }), small)).toEqual([
      ['.wide', 'text in UTF-8'],
    ])
  })

  it('an object as JSON cannot reach a prototype', async () => {
    const definition = defineConfig({ schema: z.object({ labels: z.record(z.string(), z.unknown()) }) })
    const source = env({ prefix: 'APP', variables: { APP_LABELS: '{"__proto__":{"polluted":1}}' } })
    expect(await faultsOf(source, definition as never)).toEqual([['APP_LABELS', 'another key: this one is never accepted']])
  })

  it('have more names where the schema says so: one of them may be set', async () => {
    const definition = defineConfig({
      schema: z.object({ db: z.object({ url: secret(z.string()).meta({ env: ['DATABASE_URL', 'PG_URL'] }) }) }),
    })
    const load = (variables: Record<string, string>) => definition.load({ sources: [env({ prefix: 'APP', variables })] })
    const config = await load({ DATABASE_URL: 'postgres://a' })
    expect(config.current.db.url.reveal()).toBe('postgres://a')
    expect(config.explain('db.url').location).toBe('DATABASE_URL')
    await expect(load({ DATABASE_URL: 'postgres://a', APP_DB_URL: 'postgres://b' })).rejects.toThrow(
      'either APP_DB_URL or DATABASE_URL, not both',
    )
    const path = write('url', 'postgres://c')
    expect((await load({ PG_URL_FILE: path })).current.db.url.reveal()).toBe('postgres://c')
    await expect(load({ PG_URL_FILE: path, PG_URL: 'x' })).rejects.toThrow('not both')
    expect(() => defineConfig({ schema: z.object({ a: z.string().meta({ env: 'X' }), b: z.string().meta({ env: 'X' }) }) })).toThrow('X')
  })

  it('URLs are checked without being repeated', async () => {
    const definition = defineConfig({ schema: z.object({ callback: z.url({ protocol: /^https$/ }) }) })
    const load = (value: string) => definition.load({ sources: [env({ prefix: 'APP', variables: { APP_CALLBACK: value } })] })
    expect((await load('https://shop.example/done')).current.callback).toBe('https://shop.example/done')
    for (const wrong of ['ftp://canary.example', 'canary', 'https//canary']) {
      const error = await load(wrong).catch((reason: unknown) => reason)
      expect(String(error)).toContain('APP_CALLBACK')
      expect(String(error)).not.toContain('canary')
    }
  })
})

describe('secret files', () => {
  it('must be text: NUL, UTF-16 and 50 MB are faults', async () => {
    const source = secretFiles(directory)
    for (const [content, expected] of [
      ['a\0b', 'text without NUL characters'],
      [Buffer.from('\uFEFFabc', 'utf16le'), 'text in UTF-8'],
      [Buffer.alloc(50_000_000, 0x61), 'a file of at most 1048576 bytes'],
    ] as const) {
      write('token', content)
      expect(await faultsOf(source, small)).toEqual([['token', expected]])
    }
    write('token', '\uFEFFthe token\r\n')
    expect((await small.load({ sources: [source] })).current.token?.reveal()).toBe('the token')
  })

  it('whose directory is empty are refused as if it were missing: a mount that is gone leaves that', async () => {
    write('token', 'the token')
    const config = await small.load({ sources: [secretFiles(directory)] })
    rmSync(join(directory, 'token'))
    expect(await config.reload()).toMatchObject({ outcome: 'invalid' })
    expect(config.current.token?.reveal()).toBe('the token')
    await config.close()
    expect((await faultsOf(secretFiles(directory)))[0]?.[1]).toBe('a directory that is not empty')
    expect((await small.load({ sources: [secretFiles(directory, { optional: true })] })).current).toEqual({})
  })
})

describe('keys that are names on Object.prototype', () => {
  it('are keys like any other, in every source, and nothing is reached through them', async () => {
    const names = Object.getOwnPropertyNames(Object.prototype).filter((name) => !['__proto__', 'constructor'].includes(name))
    const before = names.map((name) => Reflect.ownKeys(Reflect.get(Object.prototype, name) as object))
    const tree = Object.fromEntries(names.map((name) => [name, { call: 'owned', x: { y: 1 } }]))
    const labelled = defineConfig({ schema: z.looseObject({ labels: z.record(z.string(), z.unknown()).default({}) }) })
    const weak = file(write('weak.json', JSON.stringify({ ...tree, labels: tree })))
    const strong = file(write('strong.yaml', JSON.stringify({ ...tree, labels: { toString: { z: 2 } } })))
    const { current } = await labelled.load({ sources: [weak, strong] })
    expect(Object.keys(current.labels).toSorted()).toEqual(names.toSorted())
    expect({ ...(current.labels['toString'] as object) }).toEqual({ call: 'owned', x: { y: 1 }, z: 2 })
    expect(names.map((name) => Reflect.ownKeys(Reflect.get(Object.prototype, name) as object))).toEqual(before)
    expect(Object.keys({})).toEqual([])
  })
})

describe('an emptied file', () => {
  it.each([
    ['json', ''],
    ['json', ' \n'],
    ['yaml', ''],
    ['yaml', '---\n'],
    ['yml', 'null\n'],
    ['toml', '\n\n'],
  ])('is refused like a deleted one (%s %j), at the start and later; one with a comment is meant', async (extension, text) => {
    const good = { json: '{"a":"1"}', yaml: 'a: "1"\n', yml: 'a: "1"\n', toml: 'a = "1"\n' }
    const path = write(`app.${extension}`, good[extension as keyof typeof good])
    const config = await small.load({ sources: [file(path, { optional: true })] })
    write(`app.${extension}`, text)
    expect(await config.reload()).toMatchObject({ outcome: 'invalid' })
    expect(config.current.a).toBe('1')
    await config.close()
    expect(await faultsOf(file(path))).toEqual([[`app.${extension}`, 'a file that is not empty']])
    const meant = extension === 'json' ? '{}' : '# nothing yet\n'
    expect((await small.load({ sources: [file(write(`c.${extension}`, meant))] })).current).toEqual({})
  })

  it('a .env file that held settings is one too; one that never did is fine', async () => {
    const path = write('.env', '')
    const config = await small.load({ sources: [dotenv(path)] })
    write('.env', 'A=1\n')
    await config.reload()
    write('.env', '')
    expect(await config.reload()).toMatchObject({ outcome: 'invalid' })
    expect(config.current.a).toBe('1')
    await config.close()
  })
})

describe('z.coerce', () => {
  const schema = z.object({
    flag: z.coerce.boolean().default(true),
    inner: z.object({ port: z.coerce.number() }).prefault({ port: '1' }),
    list: z.array(z.coerce.number()).default([]),
    each: z.record(z.string(), z.coerce.boolean()).default({}),
    name: z.coerce.string().default(''),
    big: z.coerce.bigint().optional(),
    either: z.union([z.coerce.number(), z.literal('auto')]).optional(),
    chosen: z
      .discriminatedUnion('by', [
        z.object({ by: z.literal('flag'), on: z.coerce.boolean() }),
        z.object({ by: z.literal('size'), bytes: z.coerce.number() }),
      ])
      .optional(),
    piped: z.string().pipe(z.coerce.number()).optional(),
  })
  const load = (tree: Record<string, unknown>) => defineConfig({ schema }).load({ sources: [file(write('a.json', JSON.stringify(tree)))] })

  it('is as strict with texts of a file as with those of a variable, at any depth', async () => {
    const { current } = await load({
      flag: 'false',
      inner: { port: '80' },
      list: ['1', 2],
      each: { a: 'true', b: false },
      name: 5,
      big: '7',
      either: 'auto',
      chosen: { by: 'flag', on: 'false' },
      piped: '5',
    })
    expect(current).toEqual({
      flag: false,
      inner: { port: 80 },
      list: [1, 2],
      each: { a: true, b: false },
      name: '5',
      big: 7n,
      either: 'auto',
      chosen: { by: 'flag', on: false },
      piped: 5,
    })
    expect((await load({ either: '5' })).current.either).toBe(5)
  })

  it.each<[string, Record<string, unknown>]>([
    ['flag', { flag: 'no' }],
    ['flag', { flag: null }],
    ['inner.port', { inner: { port: '' } }],
    ['inner.port', { inner: { port: '0x10' } }],
    ['inner.port', { inner: { port: [] } }],
    ['list.1', { list: [1, '1e3'] }],
    ['each.a', { each: { a: '' } }],
    ['name', { name: null }],
    ['either', { either: '0x10' }],
    ['chosen.bytes', { chosen: { by: 'size', bytes: '' } }],
    ['piped', { piped: '0x10' }],
  ])('refuses at %s what JavaScript would make something of: %j', async (path, tree) => {
    const error = await load(tree).then(
      () => expect.fail('it loaded'),
      (reason: unknown) => reason,
    )
    expect((error as ConfigError).faults.map((fault) => fault.path)).toEqual([path])
  })
})

describe('what may be a value in the wrong place', () => {
  it('is not shown: lines of a key in .env, texts on the command line, keys that are none', async () => {
    const secretText = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC'
    const shown = async (source: Source) => {
      const outcome = await small.load({ sources: [source] }).then(
        ({ warnings }) => ({ warnings }),
        (error: ConfigError) => ({ faults: error.faults, message: error.message }),
      )
      return JSON.stringify(outcome)
    }
    const texts = [
      await shown(dotenv(write('.env', `TOKEN=-----BEGIN\n${secretText}=\n${secretText}==\n`))),
      await shown(args(['--a', `--${secretText}`])),
      await shown(args([`-${secretText}`])),
      await shown(file(write('a.json', JSON.stringify({ a: 'x', [`key ${secretText}`]: 1 })))),
    ]
    for (const text of texts) expect(text).not.toContain(secretText.slice(0, 12))
  })

  it.each<[string, () => Promise<never>]>([
    ['rejects', () => Promise.reject(Object.assign(new Error('CANARY'), { code: 'ECONNRESET' }))],
    [
      'gives a tree that throws when it is read',
      () =>
        Promise.resolve({
          get a(): never {
            throw Object.assign(new Error('CANARY'), { code: 'ECONNRESET' })
          },
        } as never),
    ],
  ])('the error of a source that is not ours and %s is told without its message', async (_name, read) => {
    const failing: Source = { name: 'own', read }
    const error = await small.load({ sources: [failing] }).then(
      () => expect.fail('it loaded'),
      (reason: unknown) => reason,
    )
    expect(inspect(error, { depth: 9 })).not.toContain('CANARY')
    expect((error as Error).cause).toMatchObject({ code: 'ECONNRESET' })
  })
})
