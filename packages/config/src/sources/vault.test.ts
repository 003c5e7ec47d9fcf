import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig, env, type LoadOptions, secret } from '../index.ts'
import { vaultKv } from './vault.ts'
import { startVault, type VaultServer } from './vault-server.fixture.ts'

const POLL = { timeout: 20_000, interval: 10 }
const definition = defineConfig({
  schema: z.object({ size: z.int().default(1), db: z.object({ user: z.string().default('app'), password: secret(z.string()) }) }),
})
let vault: VaultServer
beforeEach(async () => {
  vault = await startVault()
  return () => vault.close()
})
async function load(options: Partial<LoadOptions> & { pollMs?: number; namespace?: string } = {}) {
  const { pollMs, namespace, ...rest } = options
  const source = vaultKv({
    url: vault.url,
    path: 'film-store/orders',
    token: () => 'root-token',
    ...(pollMs && { pollMs }),
    ...(namespace && { namespace }),
  })
  const config = await definition.load({ sources: [source], retryMs: 0, ...rest })
  onTestFinished(() => config.close())
  return config
}
const failure = (loading: Promise<unknown>) => loading.then(() => expect.fail('it loaded')).catch((error: unknown) => error)

it('reads nested and dotted keys, converts texts, and says which version', async () => {
  vault.put('secret/film-store/orders', { 'db.password': 'from vault', db: { user: 'orders' }, size: '5' })
  const config = await load()
  expect(config.current).toMatchObject({ size: 5, db: { user: 'orders' } })
  expect(config.current.db.password.reveal()).toBe('from vault')
  expect(config.explain('db.password')).toEqual({
    source: 'vault:secret/film-store/orders',
    location: 'vault:secret/film-store/orders@1',
    value: '[secret]',
  })
})

it('follows new versions; one that is deleted or wrong keeps the snapshot', async () => {
  vault.put('secret/film-store/orders', { 'db.password': 'first password' })
  const config = await load({ watch: true, pollMs: 100 })
  const outcomes: string[] = []
  config.onReload(({ outcome }) => outcomes.push(outcome))
  vault.put('secret/film-store/orders', { 'db.password': 'second password' })
  await vi.waitFor(() => expect(config.current.db.password.reveal()).toBe('second password'), POLL)
  vault.put('secret/film-store/orders', { 'db.password': 'third password', size: 'many' })
  await vi.waitFor(() => expect(outcomes).toEqual(['applied', 'invalid']), POLL)
  vault.remove('secret/film-store/orders')
  await vi.waitFor(() => expect(outcomes).toEqual(['applied', 'invalid', 'unreachable']), POLL)
  expect(config.current.db.password.reveal()).toBe('second password')
  vault.put('secret/film-store/orders', { 'db.password': 'fourth password' })
  await vi.waitFor(() => expect(config.current.db.password.reveal()).toBe('fourth password'), POLL)
})

it('names a seal, a refused token and a missing secret, without a word of the answer', async () => {
  expect(await failure(load())).toMatchObject({ code: 'ERR_CONFIG_UNREACHABLE', cause: { status: 404 } })
  vault.put('secret/film-store/orders', { 'db.password': 'from vault' })
  vault.sealed = true
  expect(await failure(load())).toMatchObject({ message: expect.stringContaining('Vault answered 503: sealed') as string })
  vault.sealed = false
  vault.token = 'another token'
  expect(await failure(load())).toMatchObject({ cause: { status: 403 } })
})

it('waits for a seal that is opened within the time for retries', async () => {
  vault.put('secret/film-store/orders', { 'db.password': 'from vault' })
  vault.sealed = true
  const loading = load({ retryMs: 60_000 })
  await vi.waitFor(() => expect(vault.requests).toBeGreaterThan(1), POLL)
  vault.sealed = false
  expect((await loading).current.db.password.reveal()).toBe('from vault')
})

it('sends the namespace, and lets a stronger source win', async () => {
  vault.put('team/secret/film-store/orders', { 'db.password': 'of the team', size: 7 })
  const sources = [
    vaultKv({ url: vault.url, path: 'film-store/orders', token: 'root-token', namespace: 'team' }),
    env({ prefix: 'APP', variables: { APP_SIZE: '8' } }),
  ]
  const config = await load({ sources })
  expect(config.current.size).toBe(8)
  expect(config.current.db.password.reveal()).toBe('of the team')
})

it('refuses wrong options and keys that reach a prototype', async () => {
  expect(() => vaultKv({ url: 'vault', path: 'a', token: 't' })).toThrow('url')
  expect(() => vaultKv({ url: 'http://vault', path: '/a', token: 't' })).toThrow('path')
  expect(() => vaultKv({ url: 'http://vault', path: 'a', token: '' })).toThrow('token')
  expect(() => vaultKv({ url: 'http://vault', path: 'a', token: 't', pollMs: 1 })).toThrow('pollMs')
  vault.put('secret/film-store/orders', JSON.parse('{"db.password":"p","__proto__":{"polluted":1}}') as Record<string, unknown>)
  expect(await failure(load())).toMatchObject({ faults: [{ path: '__proto__' }] })
})
