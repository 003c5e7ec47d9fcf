import { chmodSync, chownSync, lstatSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { ConfigError, defineConfig, secret } from '../index.ts'
import { startVault } from '../sources/vault-server.fixture.ts'
import { vaultKv } from '../sources/vault.ts'
import {
  createRotation,
  credentialFile,
  type CredentialStore,
  type CredentialTarget,
  postgresUsers,
  rabbitmqUsers,
  vaultCredential,
} from './index.ts'
import { minute, POLL, rejection, testFolder } from './rotations.fixture.ts'

const folder = testFolder()

const nowhere: CredentialStore = { name: 'a store', read: async () => undefined, write: async () => {} }

describe('a rotation', () => {
  const log: string[] = []
  beforeEach(() => void log.splice(0))
  const target = (faults: { set?: boolean; prove?: boolean } = {}): CredentialTarget => ({
    name: 'a server',
    users: ['a', 'b'],
    setPassword: ({ username }) => (log.push(`set ${username}`), faults.set ? Promise.reject(new Error('no')) : Promise.resolve()),
    prove: ({ username }) => (log.push(`prove ${username}`), faults.prove ? Promise.reject(new Error('no')) : Promise.resolve()),
    exclusively: (run) => run(),
  })

  it.each([
    ['the password cannot be set', { set: true }, ['set b']],
    ['the credential is not taken', { prove: true }, ['set b', 'prove b']],
  ])('writes nothing when %s, and names the step', async (_name, faults, steps) => {
    const path = join(folder.path, 'credential.json')
    const store = credentialFile(path)
    await createRotation({ target: target(), store, minimumAgeMs: 0 }).run()
    const before = readFileSync(path, 'utf8')
    log.length = 0
    const error = await rejection(createRotation({ target: target(faults), store, minimumAgeMs: 0 }).run())
    expect(error).toMatchObject({ code: 'ERR_CONFIG_ROTATION', cause: { message: expect.stringContaining('not repeated') } })
    expect(log).toEqual(steps)
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  it('does not overwrite what somebody else has written meanwhile, and keeps the rest of the file', async () => {
    const path = join(folder.path, 'credential.json')
    writeFileSync(path, '{"other":{"kept":true}}')
    const store = credentialFile(path, { username: 'db.user', password: 'db.password' })
    await createRotation({ target: target(), store, minimumAgeMs: 0 }).run()
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ other: { kept: true }, db: { user: 'a' } })
    const meddling = { ...target(), prove: () => (writeFileSync(path, '{"db":{"user":"a"}}'), Promise.resolve()) }
    expect(await rejection(createRotation({ target: meddling, store, minimumAgeMs: 0 }).run())).toMatchObject({
      cause: { message: 'somebody else has written the file' },
    })
  })

  it('keeps owner, group and mode of the file it replaces, also behind a link', async () => {
    const path = join(folder.path, 'credential.json')
    const link = join(folder.path, 'link.json')
    writeFileSync(path, '{"username":"a","password":"x"}')
    symlinkSync(path, link)
    chmodSync(path, 0o604)
    if (process.getuid?.() === 0) chownSync(path, 1000, 1001)
    const before = statSync(path)
    await createRotation({ target: target(), store: credentialFile(link), minimumAgeMs: 0 }).run()
    expect(statSync(path)).toMatchObject({ uid: before.uid, gid: before.gid, mode: before.mode })
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ username: 'b' })
  })

  it.each<[string, () => unknown, string]>([
    [
      'a database at a broker',
      () => createRotation({ target: postgresUsers({ adminUrl: 'amqp://a:CANARY@h', users: ['a', 'b'] }), store: nowhere }).run(),
      'option "adminUrl" must be a URL that begins with postgres:// or postgresql://',
    ],
    [
      'a broker at a web server',
      () => rabbitmqUsers({ managementUrl: 'http://h', url: 'https://a:CANARY@h', users: ['a', 'b'] }),
      'option "url" must be a URL that begins with amqp:// or amqps://',
    ],
    [
      'a management page at a broker',
      () =>
        createRotation({
          target: rabbitmqUsers({ managementUrl: 'amqp://a:CANARY@h', url: 'amqp://h', users: ['a', 'b'] }),
          store: nowhere,
        }).run(),
      'option "managementUrl" must be a URL that begins with http:// or https://',
    ],
  ])('an address of another kind is refused by name: %s', async (_name, run, said) => {
    const error: unknown = await Promise.resolve()
      .then(run)
      .catch((reason: unknown) => reason)
    expect(inspect(error, { depth: 10 })).toContain(said)
    expect(inspect(error, { depth: 10 })).not.toContain('CANARY')
  })

  it.each<[string, () => Promise<unknown>]>([
    [
      'an address that is no URL',
      () =>
        createRotation({
          target: postgresUsers({ adminUrl: 'postgres://admin:pw#CANARY/1@127.0.0.1:9/db', users: ['a', 'b'] }),
          store: nowhere,
        }).run(),
    ],
    [
      'an address from a function that throws it',
      () =>
        createRotation({
          target: postgresUsers({ adminUrl: () => Promise.reject(new Error('CANARY')), users: ['a', 'b'] }),
          store: nowhere,
        }).run(),
    ],
    [
      'a management address that is no URL',
      () =>
        createRotation({
          target: rabbitmqUsers({ managementUrl: 'http://admin:pw#CANARY/1@127.0.0.1:9', url: 'amqp://127.0.0.1', users: ['a', 'b'] }),
          store: nowhere,
        }).run(),
    ],
    [
      'an address without a scheme',
      () => createRotation({ target: postgresUsers({ adminUrl: 'admin:CANARY@127.0.0.1:9/db', users: ['a', 'b'] }), store: nowhere }).run(),
    ],
    [
      'a password that is not escaped',
      () =>
        createRotation({
          target: rabbitmqUsers({ managementUrl: 'http://admin:%CANARY@127.0.0.1:9', url: 'amqp://127.0.0.1', users: ['a', 'b'] }),
          store: nowhere,
        }).run(),
    ],
    [
      'a server that nobody listens at',
      () =>
        createRotation({
          target: postgresUsers({ adminUrl: 'postgres://admin:CANARY@127.0.0.1:9/db', users: ['a', 'b'] }),
          store: nowhere,
        }).run(),
    ],
    [
      'a driver that quotes its statement',
      () =>
        createRotation({
          target: {
            ...target(),
            setPassword: () =>
              Promise.reject(Object.assign(new Error("alter role a password 'CANARY'"), { code: '42601', query: 'CANARY' })),
          },
          store: nowhere,
        }).run(),
    ],
    [
      'a store that quotes what it read',
      () =>
        createRotation({
          target: target(),
          store: { ...nowhere, read: () => Promise.reject(new SyntaxError('Unexpected token in "CANARY"')) },
        }).run(),
    ],
  ])('no secret shows in the error of %s, and nobody else is blamed', async (_name, run) => {
    const error = await run().then(
      () => expect.fail('it rotated'),
      (reason: unknown) => reason,
    )
    expect(ConfigError.isInstance(error)).toBe(true)
    expect(inspect(error, { depth: 10 })).not.toContain('CANARY')
    expect((error as Error).message).not.toMatch(/another rotation/)
  })

  it('through Vault: checked and set, and followed from there', async () => {
    const vault = await startVault()
    onTestFinished(() => vault.close())
    vault.put('secret/app', { other: 1 })
    const address = { url: vault.url, path: 'app', token: 'root-token' }
    const store = vaultCredential({ ...address, username: 'db.user', password: 'db.password' })
    const rotation = createRotation({ target: target(), store, minimumAgeMs: 0 })
    await rotation.run()
    const loose = defineConfig({
      schema: z.object({ other: z.number(), db: z.object({ user: z.string(), password: secret(z.string()) }) }),
    })
    const config = await loose.load({ sources: [vaultKv({ ...address, pollMs: 100 })], watch: true })
    onTestFinished(() => config.close())
    expect(config.current).toMatchObject({ other: 1, db: { user: 'a' } })
    await rotation.run()
    await vi.waitFor(() => expect(config.current.db.user).toBe('b'), POLL)
    const racing: CredentialStore = { ...store, read: async (options) => ({ ...(await store.read(options))!, revision: '1' }) }
    expect(await rejection(createRotation({ target: target(), store: racing, minimumAgeMs: 0 }).run())).toMatchObject({
      cause: { status: 400 },
    })
  })

  it('on a schedule: at once when it is due, again after a failure, until it is closed', async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true })
    onTestFinished(() => void vi.useRealTimers())
    const store = credentialFile(join(folder.path, 'credential.json'))
    let isDown = false
    const server = { ...target(), prove: () => (isDown ? Promise.reject(new Error('down')) : Promise.resolve()) }
    const rotation = createRotation({ target: server, store, minimumAgeMs: minute })
    const [done, failed] = [vi.fn<(result: { username: string }) => void>(), vi.fn<(error: unknown) => void>()]
    const schedule = rotation.every(60 * minute, { done, failed })
    await vi.waitFor(() => expect(done).toHaveBeenCalledTimes(1), POLL)
    isDown = true
    // Not beyond its beginning: virtual minutes pass faster than a server answers.
    await vi.advanceTimersByTimeAsync(60 * minute)
    await vi.waitFor(() => expect(failed).toHaveBeenCalled(), POLL)
    isDown = false
    await vi.advanceTimersByTimeAsync(minute)
    await vi.waitFor(() => expect(done.mock.calls.map(([{ username }]) => username)).toEqual(['a', 'b']), POLL)
    await schedule.close()
    expect(() => rotation.every(1)).toThrow('intervalMs')
  })

  it('refuses two names that are one', () => {
    const store = credentialFile(join(folder.path, 'credential.json'))
    expect(() => createRotation({ target: { ...target(), users: ['a', 'a'] }, store })).toThrow('target.users')
    expect(() => credentialFile('credential.yaml')).toThrow('.json')
  })
})
