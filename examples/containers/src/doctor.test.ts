import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { backups, keysFit } from './doctor.ts'
import { filmStore } from './project.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "film store's "))
})
afterEach(() => {
  chmodSync(folder, 0o700)
  rmSync(folder, { recursive: true })
})

const keys = (secrets: string, volumes: readonly string[] = []) => keysFit(filmStore([], { FILM_STORE_SECRETS: secrets }), volumes)

describe('the doctor', () => {
  it('sees a folder of the backups that is none, and quotes what a shell would part', () => {
    writeFileSync(join(folder, 'file'), '')
    const of = (name: string) => backups({ FILM_STORE_BACKUPS: join(folder, name) })
    expect(of('file')).toMatchObject([{ found: expect.stringContaining('is no folder'), fix: expect.any(String) }])
    const [missing] = of('none')
    expect(missing).toMatchObject({ found: expect.stringContaining('is not there') })
    expect(missing!.fix).toContain(` '${join(folder, 'none').replaceAll("'", String.raw`'\''`)}'`)
    expect(backups({ FILM_STORE_BACKUPS: '' })).toEqual([])
  })

  it('sees a folder of the passwords that is none', () => {
    writeFileSync(join(folder, 'file'), '')
    expect(keys(join(folder, 'file'))).toMatchObject({ found: expect.stringContaining('is no folder'), fix: expect.any(String) })
  })

  it('sees passwords that are gone, or have not been drawn yet', () => {
    const secrets = join(folder, 'secrets')
    expect(keys(secrets)).toEqual({ what: 'secrets', found: 'drawn at the first start' })
    expect(keys(secrets, ['postgres-data'])).toMatchObject({ fix: expect.stringContaining('bring the folder back') })
    mkdirSync(secrets)
    writeFileSync(join(secrets, 'complete'), '')
    expect(keys(secrets, ['postgres-data'])).toEqual({ what: 'secrets', found: 'written' })
  })

  // Root may write everywhere.
  it.skipIf(process.getuid?.() === 0)('sees a folder of the passwords that may not be written into', () => {
    chmodSync(folder, 0o500)
    expect(keys(folder)).toMatchObject({ found: expect.stringContaining('may not write'), fix: expect.stringContaining('chown') })
  })
})
