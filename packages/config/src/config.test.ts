import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { format, inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import { args, ConfigError, defineConfig, dotenv, env, envTemplate, file, type Secret, type Source, secret, secretFiles } from './index.ts'

let directory: string
const write = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(directory, name), content)
  return join(directory, name)
}
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-config-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const tree = (value: Record<string, unknown>, name = 'tree'): Source => ({ name, read: () => Promise.resolve(value) })
const variables = (values: Record<string, string>) => env({ prefix: 'APP', variables: values })
const faultsOf = async (loading: Promise<unknown>) => {
  const error = await loading.then(
    () => expect.fail('it loaded'),
    (reason: unknown) => reason,
  )
  if (!ConfigError.isInstance(error)) throw error
  expect(error.code).toBe('ERR_CONFIG_INVALID')
  return error
}

const settings = defineConfig({
  schema: z.object({
    port: z.number().int().default(8080),
    debug: z.boolean().default(false),
    db: z.object({
      url: z.string(),
      password: secret(z.string().min(8)),
      pool: z.object({ maxSize: z.number().default(10), hosts: z.array(z.string()).default([]) }).prefault({}),
    }),
  }),
})

describe('layers', () => {
  it('let the later source win, merge objects at every depth and replace lists', async () => {
    const yaml = write('config.yaml', 'port: 1\ndb:\n  url: postgres://file\n  pool:\n    maxSize: 5\n    hosts: [a, b]\n')
    const dot = write('.env', '# local\nAPP_PORT=2\nAPP_DB_PASSWORD=from-dotenv\n')
    const config = await settings.load({
      sources: [
        file(yaml),
        dotenv(dot, { prefix: 'APP' }),
        variables({ APP_PORT: '3', APP_DB_POOL_HOSTS: 'c' }),
        args(['--port=4', '--debug']),
      ],
    })
    expect(config.current).toMatchObject({ port: 4, debug: true, db: { url: 'postgres://file', pool: { maxSize: 5, hosts: ['c'] } } })
    expect(config.current.db.password.reveal()).toBe('from-dotenv')
    expect(config.explain('port')).toEqual({ source: 'args', location: '--port', value: 4 })
    expect(config.explain('db.url')).toEqual({ source: yaml, location: `${yaml}:3`, value: 'postgres://file' })
    expect(config.explain('db.password')).toEqual({ source: dot, location: `${dot}:3`, value: '[secret]' })
    expect(config.explain('db.pool.hosts.0')).toMatchObject({ source: 'env', location: 'APP_DB_POOL_HOSTS', value: 'c' })
    expect(config.revision).toBe(1)
    expectTypeOf(config.current.db.password).toEqualTypeOf<Secret<string>>()
  })

  it('keep keys that mean something to the merging engine, and a list never mixes with an object', async () => {
    const odd = { default: { 'a.b': { format: '*', env: 'PATH', deep: { x: 1 } } }, toString: { y: 1 }, '50%2E': 'kept', list: [1, 2] }
    const definition = defineConfig({ schema: z.looseObject({}) })
    const config = await definition.load({
      sources: [tree(odd), tree({ default: { 'a.b': { deep: { z: 2 } } }, list: { replaced: true } }), tree({ toString: {} })],
    })
    expect(config.current).toEqual({
      default: { 'a.b': { format: '*', env: 'PATH', deep: { x: 1, z: 2 } } },
      toString: { y: 1 },
      '50%2E': 'kept',
      list: { replaced: true },
    })
  })

  it('take an object that is there but empty, and lose one to a scalar', async () => {
    const definition = defineConfig({ schema: z.object({ db: z.object({ size: z.number().default(1) }), other: z.unknown() }) })
    const config = await definition.load({ sources: [tree({ db: {}, other: { a: 1 } }), tree({ other: 'text' })] })
    expect(config.current).toEqual({ db: { size: 1 }, other: 'text' })
  })

  it('explain defaults, and say which setting was probably meant', async () => {
    const config = await settings.load({ sources: [variables({ APP_DB_URL: 'u', APP_DB_PASSWORD: 'long enough' })] })
    expect(config.explain('port')).toEqual({ source: 'default', location: 'schema', value: 8080 })
    expect(() => config.explain('db.ulr')).toThrow('there is no setting "db.ulr"; did you mean db.url?')
    expect(() => config.explain('toString')).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_PATH' }) as Error)
  })
})

describe('the snapshot', () => {
  it('is frozen all the way down without freezing what a source handed over', async () => {
    const given = { list: [{ a: 1 }] }
    const config = await defineConfig({ schema: z.object({ list: z.array(z.any()) }) }).load({ sources: [tree(given)] })
    expect(() => (config.current.list[0].a = 2)).toThrow(TypeError)
    expect(() => config.current.list.push(1)).toThrow(TypeError)
    given.list[0]!.a = 3
    expect(config.current.list).toEqual([{ a: 1 }])
  })

  it('hands out parts as live values, and closes', async () => {
    const config = await defineConfig({ schema: z.object({ port: z.number() }) }).load({ sources: [tree({ port: 1 })] })
    const port = config.live((current) => current.port)
    const unsubscribe = port.onChange(() => ({ commit: () => {} }))
    expect(port.current).toBe(1)
    expect(config.pinned(() => config.current)).toBe(config.current)
    unsubscribe()
    await config.close()
    await config[Symbol.asyncDispose]()
  })
})

describe('faults', () => {
  it('come all in one error, with the place, what is expected and how to set it', async () => {
    const yaml = write('config.yaml', 'port: "80"\ndb:\n  password: short\n')
    const error = await faultsOf(
      settings.load({ sources: [file(yaml), variables({ APP_DEBUG: 'yes' }), args(['--db.pool.max-size', 'many'])] }),
    )
    expect(error.faults.map(({ path, location, expected }) => ({ path, location, expected }))).toEqual([
      { path: 'debug', location: 'APP_DEBUG', expected: 'true or false' },
      { path: 'db.pool.maxSize', location: '--db.pool.max-size', expected: 'a decimal number' },
      { path: 'port', location: `${yaml}:1`, expected: 'number, received string' },
      { path: 'db.url', location: undefined, expected: 'a text' },
      { path: 'db.password', location: `${yaml}:3`, expected: 'a text' },
    ])
    expect(error.message).toContain('db.url: expected a text; it is missing: set APP_DB_URL or --db.url')
    expect(error.message).not.toContain('short')
  })

  it('name every setting inside an object that is missing as a whole, and how to set it', async () => {
    const tls = z.object({ cert: z.string(), key: secret(z.string()) })
    const definition = defineConfig({
      schema: z.object({
        db: z.object({ url: z.string(), pool: z.object({ maxSize: z.number(), idle: z.number().default(1) }) }),
        tls: z.object({ main: tls, spare: tls.optional() }).optional(),
      }),
    })
    const load = (given: Record<string, string>) => faultsOf(definition.load({ sources: [variables(given)] }))
    const nothing = await load({})
    expect(nothing.faults.map(({ path, hint }) => [path, hint])).toEqual([
      ['db.url', 'it is missing: set APP_DB_URL'],
      ['db.pool.maxSize', 'it is missing: set APP_DB_POOL_MAX_SIZE'],
    ])
    const half = await load({ APP_DB_URL: 'x', APP_DB_POOL_MAX_SIZE: '1', APP_TLS_SPARE_CERT: 'x' })
    expect(half.faults.map(({ path }) => path)).toEqual(['tls.main.cert', 'tls.main.key', 'tls.spare.key'])
  })

  it('never show a secret: not by zod, not by a rule of the author, not by a parser', async () => {
    const canary = 'canary-7f3a'
    const definition = defineConfig({
      schema: z
        .object({
          key: secret(z.enum(['alpha-key', 'beta-key'])),
          pin: secret(z.number()),
          many: z.array(secret(z.string().refine(() => false, { error: (issue) => `refused ${String(issue.input)}` }))),
          name: z.string(),
          nested: secret(z.object({ token: z.string().max(3) })),
        })
        .superRefine((value, context) => context.addIssue(`${value.name} does not go with ${JSON.stringify(value)}`)),
    })
    const wrong = await faultsOf(
      definition.load({
        sources: [variables({ APP_KEY: canary, APP_PIN: canary, APP_MANY: 'another-canary,x', APP_NESTED: `{"token":"${canary}"}` })],
      }),
    )
    expect(inspect(wrong, { depth: 9 })).not.toMatch(/canary|alpha-key/)
    expect(wrong.faults.map((fault) => fault.path)).toEqual(['pin', 'key', 'many.0', 'many.1', 'name', 'nested.token'])

    const quoting = defineConfig({
      schema: z.object({ key: secret(z.string()) }).superRefine((value, context) => context.addIssue(`bad: ${value.key.reveal()}`)),
    })
    expect(inspect(await faultsOf(quoting.load({ sources: [variables({ APP_KEY: canary })] })))).toContain('bad: [secret]')

    for (const [name, text] of [
      ['a.json', `{"key": ${canary}}`],
      ['b.yaml', `key: [${canary}\n- "`],
      ['c.yaml', `key: *${canary}`],
      ['d.yaml', canary],
    ] as const)
      expect(inspect(await faultsOf(definition.load({ sources: [file(write(name, text))] })), { depth: 9 })).not.toContain(canary)
  })

  it('report both a variable and its file, a file that is missing, and one that is empty', async () => {
    const path = write('password', 'from the file\n')
    const others = { APP_DB_URL: 'u' }
    const load = (values: Record<string, string>) => settings.load({ sources: [variables({ ...others, ...values })] })
    expect((await load({ APP_DB_PASSWORD_FILE: path })).current.db.password.reveal()).toBe('from the file')
    expect((await faultsOf(load({ APP_DB_PASSWORD_FILE: path, APP_DB_PASSWORD: 'x' }))).faults).toMatchObject([
      { path: 'db.password', expected: 'either APP_DB_PASSWORD or APP_DB_PASSWORD_FILE, not both' },
    ])
    expect((await faultsOf(load({ APP_DB_PASSWORD_FILE: `${path}x` }))).message).toContain('ENOENT')
    expect((await faultsOf(load({ APP_DB_PASSWORD_FILE: write('empty', '\n') }))).message).toContain('not empty')
  })

  it('tell apart a missing file, a missing optional file, broken text, wrong encoding and doubled keys', async () => {
    const definition = defineConfig({ schema: z.object({ a: z.number().default(1) }) })
    const load = (source: Source) => definition.load({ sources: [source] })
    const missing = join(directory, 'none.yaml')
    expect((await load(file(missing, { optional: true }))).current).toEqual({ a: 1 })
    expect((await load(file(write('empty.yaml', '# nothing\n')))).current).toEqual({ a: 1 })
    expect((await load(file(write('bom.json', '\uFEFF{"a":2}')))).current).toEqual({ a: 2 })
    expect((await faultsOf(load(file(missing)))).faults).toMatchObject([{ location: missing, expected: 'a file' }])
    const json = write('a.json', '{\n "a": 1,\n}')
    expect((await faultsOf(load(file(json)))).faults).toMatchObject([{ location: `${json}:3`, expected: 'valid JSON' }])
    const twice = write('twice.yaml', 'a: 1\na: 2\n')
    expect((await faultsOf(load(file(twice)))).faults).toMatchObject([{ location: `${twice}:2`, expected: 'each key once' }])
    expect((await faultsOf(load(file(write('latin.yaml', Buffer.from([0x61, 0x3a, 0x20, 0xe9])))))).message).toContain('UTF-8')
    expect((await faultsOf(load(file(write('list.yaml', '- a\n'))))).message).toContain('keys with values')
  })

  it.each(['__proto__', 'constructor', 'prototype'])('refuse the key %s at every depth, in lists too, and name the line', async (key) => {
    const definition = defineConfig({ schema: z.looseObject({}) })
    const path = write('config.yaml', `a:\n  b:\n    - c:\n        "${key}": { polluted: true }\n`)
    expect((await faultsOf(definition.load({ sources: [file(path)] }))).faults).toMatchObject([
      { path: `a.b.0.c.${key}`, location: `${path}:4` },
    ])
    const json = JSON.parse(`{"x":{"${key}":{"polluted":true}}}`) as Record<string, unknown>
    expect((await faultsOf(definition.load({ sources: [tree(json)] }))).faults).toMatchObject([{ path: `x.${key}` }])
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('name a source that rejects without repeating its message, and stop endless trees', async () => {
    const definition = defineConfig({ schema: z.looseObject({}) })
    const broken: Source = { name: 'vault', read: () => Promise.reject(new Error('token abc refused')) }
    const error = await faultsOf(definition.load({ sources: [broken] }))
    expect(error.message).toContain('vault')
    expect(error.message).not.toContain('abc')
    expect(error.cause).toBeInstanceOf(Error)
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    expect((await faultsOf(definition.load({ sources: [tree(circular)] }))).message).toContain('at most 64 levels')
  })
})

describe('names that do not exist', () => {
  it('are warnings with the nearest name in variables and files, faults on the command line', async () => {
    const yaml = write('config.yaml', 'prot: 1\ndb:\n  url: u\n  password: long enough\n  pool: { maxsize: 1 }\n')
    const config = await settings.load({ sources: [file(yaml), variables({ APP_DB_ULR: 'x', OTHER: 'y' })] })
    expect(config.warnings.map(({ path, location, hint }) => [path, location, hint])).toEqual([
      ['prot', `${yaml}:1`, 'did you mean port?'],
      ['db.pool.maxsize', `${yaml}:5`, 'did you mean maxSize?'],
      ['APP_DB_ULR', 'APP_DB_ULR', 'did you mean APP_DB_URL?'],
    ])
    const { faults } = await faultsOf(
      settings.load({ sources: [file(yaml), args(['--prot=1', 'loose', '--db.url', '--debug', '--port=1', '--port=2'])] }),
    )
    expect(faults.map(({ path, location, hint }) => [path, location, hint])).toEqual([
      ['', '--prot', 'did you mean port?'],
      ['', 'argument 2', undefined],
      ['db.url', '--db.url', undefined],
      ['port', '--port', undefined],
    ])
  })

  it('warn when a prefix was forgotten, and of secrets on the command line', async () => {
    const path = write('.env', 'APP_PORT=1\n')
    const config = await settings.load({
      sources: [dotenv(path), args(['--db.url=u', '--db.password=long enough', '--no-debug', '--', '--anything', 'else'])],
    })
    expect(config.current.port).toBe(8080)
    expect(config.warnings.map((warning) => warning.hint)).toEqual([
      "if APP is its prefix, say so: { prefix: 'APP' }",
      'everyone on this machine can read command lines',
    ])
  })

  it('explain the variables that Kubernetes adds for a service', async () => {
    expect((await faultsOf(settings.load({ sources: [variables({ APP_PORT: 'tcp://10.0.0.1:80' })] }))).message).toContain(
      'enableServiceLinks',
    )
  })
})

describe('secrets', () => {
  it('print as [secret] everywhere and give their texts to the logger', async () => {
    const definition = defineConfig({
      schema: z.object({
        url: secret(z.string()).describe('broker'),
        list: z.array(secret(z.string())),
        pair: secret(z.object({ pin: z.number() })).optional(),
      }),
    })
    const config = await definition.load({ sources: [tree({ url: 'amqp://me:p%40ss@host', list: ['one'], pair: { pin: 4711 } })] })
    const { url } = config.current
    for (const text of [
      String(url),
      `${url as unknown as string}`,
      '' + url,
      JSON.stringify(config.current),
      inspect(config.current, { depth: 9, showHidden: true }),
      format('%s %o %j', url, url, url),
      JSON.stringify(config),
    ])
      expect(text).not.toMatch(/p%40ss|p@ss|4711|one/)
    const script = 'process.stdout.write(process.env.SHOWN ?? "")'
    const env = { ...process.env, SHOWN: url as unknown as string }
    expect(execFileSync(process.execPath, ['-e', script], { env, encoding: 'utf8' })).toBe('[secret]')
    const wrapped = new Error(`no connection to ${url as unknown as string}`, { cause: { url } })
    expect(inspect(wrapped, { depth: 9 })).not.toContain('p%40ss')
    expect([...config.secrets()]).toEqual(['amqp://me:p%40ss@host', 'p%40ss', 'p@ss', 'one', '4711'])
    expect(config.explain('pair')).toMatchObject({ value: '[secret]' })
    expect(config.explain('list')).toMatchObject({ value: ['[secret]'] })
  })

  it('come one a file, by either spelling but not both', async () => {
    write('db_password', 'mounted secret\n')
    write('DB_URL', 'postgres://x')
    const config = await settings.load({ sources: [secretFiles(directory)] })
    expect(config.current.db.password.reveal()).toBe('mounted secret')
    expect(config.explain('db.password').location).toBe(join(directory, 'db_password'))
    write('DB_PASSWORD', 'another one')
    expect((await faultsOf(settings.load({ sources: [secretFiles(directory)] }))).message).toContain('not both')
    expect((await faultsOf(settings.load({ sources: [secretFiles(join(directory, 'none'))] }))).message).toContain('ENOENT')
  })
})

describe('the definition', () => {
  it('refuses what cannot be set: no object, or two settings with one variable name', () => {
    expect(() => defineConfig({ schema: z.string() })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_SCHEMA' }) as Error)
    expect(() => defineConfig({ schema: z.object({ dbUrl: z.string(), db: z.object({ url: z.string() }) }) })).toThrow('DB_URL')
    expect(() => defineConfig({ schema: z.object({ token: secret(z.string()), tokenFile: z.string() }) })).toThrow('TOKEN_FILE')
    expect(() => defineConfig({ schema: {} as never })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_OPTION' }) as Error)
    expect(() => env({ prefix: 'lower' })).toThrow('prefix')
    expect(() => file('config.ini')).toThrow('path')
  })

  it('looks through recursion, intersections and wrappers', () => {
    const node: z.ZodType = z.object({ name: z.string(), child: z.lazy(() => node).optional() })
    const definition = defineConfig({
      schema: z.object({
        tree: node,
        both: z.object({ a: z.string() }).and(z.object({ b: z.number() })),
        last: z.preprocess(Number, z.number()),
      }),
    })
    expect(definition.fields.map((field) => `${field.path.join('.')}:${field.kind.type}`)).toEqual([
      'tree.name:text',
      'tree.child:object',
      'both.a:text',
      'both.b:number',
      'last:text',
    ])
  })

  it('writes the template of its variables', () => {
    const definition = defineConfig({
      schema: z.object({
        port: z.number().default(8080).describe('Where to listen.'),
        db: z.object({ url: z.string(), password: secret(z.string()) }),
        title: z.string().default('film store'),
        level: z.enum(['debug', 'info']).optional(),
      }),
    })
    expect(envTemplate(definition, { prefix: 'APP' })).toBe(`# Where to listen.
# a decimal number
# APP_PORT=8080

# a text (required)
APP_DB_URL=

# secret: a text, or its file in APP_DB_PASSWORD_FILE (required)
APP_DB_PASSWORD=

# a text
# APP_TITLE='film store'

# one of debug, info
# APP_LEVEL=
`)
  })
})

describe('an aborted load', () => {
  it('rejects at once with the reason of its signal, however slow a source is', async () => {
    const controller = new AbortController()
    const stuck: Source = { name: 'stuck', read: () => new Promise(() => {}) }
    const loading = settings.load({ sources: [stuck], signal: controller.signal })
    controller.abort(new Error('enough'))
    await expect(loading).rejects.toThrow('enough')
    await expect(settings.load({ sources: [], signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
    const early = AbortSignal.abort(new Error('read'))
    await expect(settings.load({ sources: [file('package.json')], signal: early })).rejects.toThrow('read')
  })
})
