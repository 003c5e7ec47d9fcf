import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeSecrets, secretsFolder, writeSecrets } from './secrets.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'film-store-test-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const read = (name: string) => readFileSync(join(folder, name), 'utf8')
const all = () => Object.fromEntries(readdirSync(folder).map((name) => [name, read(name)]))

describe('the secrets', () => {
  it('are those that the containers ask for', () => {
    writeSecrets(folder)
    const compose = ['compose.yml', 'compose.ha.yml', 'compose.logs.yml', 'compose.tls.yml']
      .map((file) => readFileSync(new URL(`../../../docker/${file}`, import.meta.url), 'utf8'))
      .join('\n')
    const named = [...compose.matchAll(/FILM_STORE_SECRETS:-\.secrets\}\/(\w+)['"] \}/g)].map(([, name]) => name)
    expect(new Set([...named, 'complete'])).toEqual(new Set(readdirSync(folder)))
    const used = [...compose.matchAll(/\/run\/secrets\/(\w+)/g)].map(([, name]) => name)
    expect(used.filter((name) => !named.includes(name))).toEqual([])
  })

  it('are drawn once; what a newer version needs besides is drawn alone', () => {
    expect(writeSecrets(folder)).toBe(true)
    const before = all()
    expect(writeSecrets(folder)).toBe(false)
    rmSync(join(folder, 'redis_password'))
    expect(writeSecrets(folder)).toBe(true)
    expect({ ...all(), redis_password: '' }).toEqual({ ...before, redis_password: '' })
  })

  it('are not put among the things of others, whose folder stays as open as it was', () => {
    chmodSync(folder, 0o755)
    writeFileSync(join(folder, 'notes'), 'mine')
    expect(() => writeSecrets(folder)).toThrow('holds other things (notes)')
    expect([readdirSync(folder), statSync(folder).mode & 0o777]).toEqual([['notes'], 0o755])
  })

  it('give each service a user of its own in RabbitMQ, whose hash is that of the password in its URL', () => {
    writeSecrets(folder)
    // From before the user of backups: the services keep their passwords.
    for (const file of ['rabbitmq_definitions', 'backup_queue_password']) rmSync(join(folder, file))
    writeSecrets(folder)
    const { users, permissions } = JSON.parse(read('rabbitmq_definitions')) as {
      users: { name: string; password_hash: string; tags: string }[]
      permissions: { user: string; read: string }[]
    }
    const everybody = ['catalog', 'orders', 'fulfilment', 'backup']
    expect(users.map(({ name }) => name)).toEqual(everybody)
    expect(permissions.map(({ user }) => user)).toEqual(everybody)
    expect(permissions.find(({ user }) => user === 'backup')?.read).toBe('^$')
    for (const { name, password_hash, tags } of users.filter((each) => each.name !== 'backup')) {
      const { username, password } = new URL(read(`${name}_queue_url`))
      const kept = Buffer.from(password_hash, 'base64')
      const hash = createHash('sha256').update(kept.subarray(0, 4)).update(password).digest()
      expect([username, tags, kept.subarray(4).equals(hash)]).toEqual([name, '', true])
    }
  })

  it('close Consul to whoever has no token, with the token of the commands inside as the first', () => {
    writeSecrets(folder)
    const token = read('consul_management_token')
    expect(JSON.parse(read('consul_acl'))).toEqual({
      acl: { enabled: true, default_policy: 'deny', tokens: { master: token, agent: token } },
    })
    expect(new Set([token, read('catalog_consul_token'), read('orders_consul_token')]).size).toBe(3)
  })

  it('go alone: what somebody else keeps in their folder stays', () => {
    writeSecrets(folder)
    mkdirSync(join(folder, 'tls/gateway'), { recursive: true })
    writeFileSync(join(folder, 'notes'), 'mine')
    removeSecrets(folder)
    expect(all()).toEqual({ notes: 'mine' })
    rmSync(join(folder, 'notes'))
    writeSecrets(folder)
    removeSecrets(folder)
    expect(existsSync(folder)).toBe(false)
    removeSecrets(folder)
  })

  it('of each store are in a folder of their own', () => {
    const [plain, other] = [secretsFolder({}), secretsFolder({ COMPOSE_PROJECT_NAME: 'other' })]
    expect(plain.endsWith('/docker/.secrets')).toBe(true)
    expect(other.endsWith('/docker/.secrets-other')).toBe(true)
    expect(secretsFolder({ COMPOSE_PROJECT_NAME: 'other', FILM_STORE_SECRETS: folder })).toBe(folder)
  })
})
