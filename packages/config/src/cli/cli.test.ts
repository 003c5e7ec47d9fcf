import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { main } from './main.ts'

const module = join(import.meta.dirname, 'settings.fixture.ts')
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-config-'))
  process.env['SETTINGS_FIXTURE'] = directory
})
afterEach(() => {
  delete process.env['SETTINGS_FIXTURE']
  rmSync(directory, { recursive: true })
})
const write = (name: string, text: string): string => {
  writeFileSync(join(directory, name), text)
  return join(directory, name)
}
async function run(...argv: string[]) {
  let [out, err] = ['', '']
  const code = await main(argv, { out: (text) => (out += text), err: (text) => (err += text) })
  expect(out + err, 'no secret, whatever the command').not.toMatch(/canary/)
  return { code, out, err }
}
const staging = 'db: { url: postgres://staging, password: canary-of-staging }\n'

describe('check and explain', () => {
  it('list what is wrong or suspicious, and where each setting comes from', async () => {
    write('staging.yaml', `${staging}prot: 1\n`)
    expect(await run('check', module)).toMatchObject({
      code: 0,
      out: `warning: prot: expected the name of a setting (${directory}/staging.yaml:2); did you mean port?\n5 settings are usable.\n`,
    })
    const { out } = await run('explain', module)
    expect(out).toContain('port = 8080  (schema)\n')
    expect(out).toContain(`db.password = "[secret]"  (${directory}/staging.yaml:1)\n`)
    expect((await run('explain', module, 'port', 'currency')).out.split('\n')).toHaveLength(3)
    expect(await run('explain', module, 'prot')).toMatchObject({ code: 1, err: 'there is no setting "prot"; did you mean port?\n' })
    write('production.yaml', 'db: { password: canary }\n')
    const broken = await run('check', module, '--environment', 'production')
    expect(broken.code).toBe(1)
    expect(broken.err).toContain('2 settings are not usable')
    expect(broken.err).toContain('db.url: expected a text; it is missing')
  })
})

describe('template, docs and schema', () => {
  it('come from the schema, the same every time, and are compared byte by byte', async () => {
    const { out: template } = await run('template', module)
    expect(template).toContain('# Where to listen\n# a decimal number\n# SHOP_PORT=8080\n')
    const { out: docs } = await run('docs', module)
    expect(docs).toContain('| `port` | `SHOP_PORT` | `--port` | a decimal number | `8080` | needs a restart | Where to listen |')
    expect(docs).toContain('`SHOP_DB_URL`, `DATABASE_URL`')
    const schema = JSON.parse((await run('schema', module)).out) as { properties: { db: { properties: Record<string, unknown> } } }
    expect(schema.properties.db.properties['password']).toEqual({ type: 'string', minLength: 8, writeOnly: true })
    expect(schema).not.toHaveProperty('required')

    const path = join(directory, 'settings.md')
    expect((await run('docs', module, '--compare', path)).err).toBe(`${path} is missing\n`)
    await run('docs', module, '--output', path)
    expect((await run('docs', module, '--compare', path)).code).toBe(0)
    writeFileSync(path, `${readFileSync(path, 'utf8').replace('8080', '8081')}`)
    expect(await run('docs', module, '--compare', path)).toMatchObject({ code: 1, err: `${path}:5 is not what the schema gives\n` })
    writeFileSync(path, `${docs}\n`)
    expect((await run('docs', module, '--compare', path)).code).toBe(1)
    expect((await run('template', module, '--prefix', 'OTHER')).out).toContain('OTHER_PORT')
  })
})

describe('parity', () => {
  it('compares presence, class and secrets, and shows no value', async () => {
    write('staging.yaml', 'port: 1\nextra: 1\ncurrency: canary\ndb: { url: a, password: canary-shared }\n')
    write('production.yaml', 'port: [1]\ndb: { url: b, password: canary-shared }\n')
    const { code, err } = await run('parity', module, 'staging', 'production')
    expect(code).toBe(1)
    expect(err.trim().split('\n').toSorted()).toEqual([
      'currency: in staging it is not one of "EUR"|"USD"',
      'db.password: the same secret in both',
      'extra: no setting has this name',
      'port: in production it is not number, received array',
    ])
    write('production.yaml', 'port: 2\ndb: { url: b, password: canary-of-production }\n')
    write('staging.yaml', `port: 3\n${staging}`)
    expect(await run('parity', module, 'staging', 'production')).toMatchObject({
      code: 0,
      out: 'staging and production have the same shape.\n',
    })
  })

  it('takes a name for an environment though a file is called so, and a path that leads nowhere for a mistake', async () => {
    write('staging.yaml', staging)
    // It lies where the tests run.
    write('README.md.yaml', 'db: { url: b, password: canary-of-another }\n')
    expect(await run('parity', module, 'staging', 'README.md')).toMatchObject({ code: 0 })
    for (const path of ['production.yaml', '.env.production', `${directory}/production`]) {
      expect(await run('parity', module, 'staging', path)).toMatchObject({ code: 1, err: `${path} is no file\n` })
    }
  })

  it('allows what a list allows, until its day is over', async () => {
    write('staging.yaml', `${staging}currency: USD\n`)
    const production = write('.env.production', 'SHOP_DB_URL=b\nSHOP_DB_PASSWORD=canary-of-production\n')
    const allow = (until: string, path = 'currency') =>
      write('allow.yaml', `allow:\n  - { path: ${path}, reason: a trial, until: "${until}" }\n`)
    expect(await run('parity', module, 'staging', production, '--allow', allow('2999-01-01'))).toMatchObject({
      code: 0,
      out: expect.stringContaining('note: currency: set in staging only; allowed until 2999-01-01 (a trial)') as string,
    })
    expect(await run('parity', module, 'staging', production, '--allow', allow('2020-01-01'))).toMatchObject({
      code: 1,
      err: 'currency: set in staging only; it was allowed until 2020-01-01 (a trial)\n',
    })
    expect((await run('parity', module, 'staging', production, '--allow', allow('2999-01-01', 'port'))).out).toContain(
      'port: is allowed to differ',
    )
    expect(
      (await run('parity', module, 'staging', production, '--allow', write('allow.yaml', 'allow: [{ path: currency }]'))).err,
    ).toContain('reason')
  })
})

describe('the call', () => {
  it.each([
    [[], 2, 'usage'],
    [['--help'], 0, 'usage'],
    [['chekc', module], 2, 'there is no command "chekc"'],
    [['check'], 2, 'the module is missing'],
    [['check', module, '--environmant', 'x'], 2, 'environmant'],
    [['check', join(import.meta.dirname, 'docs.ts')], 1, 'neither "settings" nor "rotation"'],
    [['parity', module, 'staging'], 2, 'name both'],
  ] as const)('%j', async (argv, code, text) => {
    const result = await run(...argv)
    expect(result.code).toBe(code)
    expect(result.out + result.err).toContain(text === 'usage' ? 'platform-config <command>' : text)
  })

  it('rotates', async () => {
    expect(await run('rotate', module)).toEqual({ code: 0, out: 'a is in use\n', err: '' })
  })
})
