import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { filmStore } from './project.ts'
import { restore } from './restore.ts'
import { writeSecrets } from './secrets.ts'

let secrets: string
beforeEach(() => {
  secrets = mkdtempSync(join(tmpdir(), 'film-store-test-'))
})
afterEach(() => rmSync(secrets, { recursive: true }))
const restoring = (to?: string) =>
  restore({ project: filmStore([], {}), secrets, to, up: () => Promise.resolve(true), onProgress: () => {} })

it('touches nothing without the key of the backups', async () => {
  await expect(restoring()).rejects.toThrow('no complete, backup_key, pgbackrest_key')
  expect(readdirSync(secrets)).toEqual([])
  writeSecrets(secrets)
  rmSync(join(secrets, 'pgbackrest_key'))
  await expect(restoring()).rejects.toThrow('no pgbackrest_key')
})

it.each(['yesterday', '2026-01-31', '2026-01-31 12:00:00', '2026-13-31 12:00:00+00', '2999-01-31 12:00:00+00', ''])(
  'takes no moment like "%s"',
  async (to) => {
    writeSecrets(secrets)
    await expect(restoring(to)).rejects.toThrow(`--to '${to}'`)
  },
)

it('makes the folders of the certificates before the engine could, whose they would be then', async () => {
  writeSecrets(secrets)
  const project = filmStore(['tls'], { DOCKER_HOST: 'unix:///nowhere' })
  await expect(restore({ project, secrets, up: () => Promise.resolve(true), onProgress: () => {} })).rejects.toThrow('nothing was restored')
  expect(readdirSync(join(secrets, 'tls'))).toContain('postgres')
})
