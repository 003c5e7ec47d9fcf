import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dockerFolder } from './project.ts'
import { loadSettings, ownStore, setting, settings } from './settings.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'film-store-settings-'))
})
afterEach(() => rmSync(folder, { recursive: true }))
const nowhere = () => join(folder, 'none')

describe('settings of a store', () => {
  it.each([
    ['FILM_STORE_PORT', 'abc'],
    ['FILM_STORE_PORT', '0'],
    ['FILM_STORE_PORT', '65536'],
    ['FILM_STORE_PORT', '8080 '],
    ['FILM_STORE_PORT', '127.0.0.1:8080'],
    ['FILM_STORE_PROMETHEUS_PORT', '9e3'],
    ['FILM_STORE_POSTGRES_PORT', '-1'],
    ['FILM_STORE_ADDRESS', 'localhost'],
    ['FILM_STORE_ADDRESS', '::'],
    ['COMPOSE_PROJECT_NAME', 'Shop'],
    ['COMPOSE_PROJECT_NAME', '../shop'],
    ['COMPOSE_PROJECT_NAME', '-shop'],
    // Compose would take it for the name of a volume.
    ['FILM_STORE_BACKUPS', 'backups'],
    ['FILM_STORE_BACKUPS', './backups'],
    ['FILM_STORE_BACKUPS', '/mnt/a:b'],
    ['FILM_STORE_CERTIFICATE_DAYS', 'thirty'],
  ])('%s cannot be %j', (name, text) => {
    expect(() => loadSettings(nowhere(), { [name]: text })).toThrow(`${name} is '${text}' and must ${settings[name]!.must}`)
  })

  it.each([
    ['FILM_STORE_PORT', '80'],
    ['FILM_STORE_POSTGRES_PORT', '0'],
    ['FILM_STORE_ADDRESS', '0.0.0.0'],
    ['FILM_STORE_BACKUPS', '/mnt/my backups'],
    ['COMPOSE_PROJECT_NAME', 'shop_2-b'],
    ['FILM_STORE_PORT', ''],
  ])('%s may be %j', (name, text) => {
    expect(() => loadSettings(nowhere(), { [name]: text })).not.toThrow()
  })

  it('that nobody knows are refused, those of others are not', () => {
    expect(() => loadSettings(nowhere(), { FILM_STORE_PROT: '80', FILM_STORE_BACKUP: '/mnt' })).toThrow(
      'there is no setting FILM_STORE_PROT; there is no setting FILM_STORE_BACKUP',
    )
    expect(() => loadSettings(nowhere(), { HOME: '/', constructor: 'x' })).not.toThrow()
  })

  it('come from a file as well, over which the environment wins', () => {
    const file = join(folder, '.env')
    writeFileSync(file, '# the store of this host\nFILM_STORE_PORT=8443\nCOMPOSE_PROJECT_NAME=shop\n')
    const env: NodeJS.ProcessEnv = { COMPOSE_PROJECT_NAME: 'mine' }
    loadSettings(file, env)
    expect(env).toEqual({ COMPOSE_PROJECT_NAME: 'mine', FILM_STORE_PORT: '8443' })
    writeFileSync(file, 'FILM_STORE_PORT=none\n')
    expect(() => loadSettings(file, {})).toThrow('FILM_STORE_PORT')
  })

  it('are those that the files of Compose read', () => {
    const files = readdirSync(dockerFolder).filter((name) => /^compose.*\.yml$/.test(name))
    const read = files.flatMap((name) => readFileSync(join(dockerFolder, name), 'utf8').match(/FILM_STORE_[A-Z\d_]+/g) ?? [])
    expect(new Set(read)).toEqual(new Set(Object.keys(settings).filter((name) => name !== 'COMPOSE_PROJECT_NAME')))
  })

  it('that are empty are those that nobody set', () => {
    expect([setting('FILM_STORE_PORT', {}), setting('FILM_STORE_PORT', { FILM_STORE_PORT: '' })]).toEqual(['8080', '8080'])
  })

  it('of the store that people use are none of one that is made beside it', () => {
    const env = { FILM_STORE_BACKUPS: '/mnt/backups', FILM_STORE_ADDRESS: '0.0.0.0', ...ownStore({ FILM_STORE_PORT: '1234' }) }
    expect([env.FILM_STORE_BACKUPS, env.FILM_STORE_ADDRESS, env.FILM_STORE_PORT]).toEqual(['', '', '1234'])
    // What the images are built of is the same.
    expect(Object.keys(ownStore({}))).not.toContain('FILM_STORE_RELEASE')
  })
})
