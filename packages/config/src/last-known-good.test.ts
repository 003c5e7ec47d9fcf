import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig, env, secret, type Source } from './index.ts'

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-config-'))
  path = join(directory, 'copy')
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(directory, { recursive: true })
})

const definition = defineConfig({
  schema: z.object({ size: z.int().default(1), big: z.bigint().optional(), db: z.object({ password: secret(z.string()) }) }),
})
const state = { tree: {} as Record<string, unknown>, isDown: false, reads: 0 }
const remote: Source = {
  name: 'far',
  remote: true,
  read() {
    state.reads++
    return state.isDown ? Promise.reject(new Error('ECONNREFUSED canary-in-a-message')) : Promise.resolve(state.tree)
  },
}
const key = 'a key of sixteen or more'
const load = async (options: { key?: string; maxAgeMs?: number; retryMs?: number; sources?: Source[] } = {}) => {
  const { sources = [remote], retryMs = 0, maxAgeMs = 60_000 } = options
  const config = await definition.load({ sources, retryMs, lastKnownGood: { path, key: options.key ?? key, maxAgeMs } })
  onTestFinished(() => config.close())
  return config
}
const messageOf = (loading: Promise<unknown>) =>
  loading.then(
    () => expect.fail('it loaded'),
    (error: Error & { code: string }) => `${error.code} ${error.message}`,
  )
beforeEach(() => Object.assign(state, { tree: { size: 5, big: 12n, db: { password: 'canary-9d2e' } }, isDown: false, reads: 0 }))

it('stands in for a source that is down at the start, under stronger sources, with a warning until it is back', async () => {
  await load()
  state.isDown = true
  const config = await load({ sources: [remote, env({ prefix: 'APP', variables: { APP_SIZE: '9' } })] })
  expect(config.current).toMatchObject({ size: 9, big: 12n })
  expect(config.current.db.password.reveal()).toBe('canary-9d2e')
  expect(await config.check()).toMatchObject({ status: 'warn', message: expect.stringContaining('far gave no settings') as string })
  expect(await config.reload()).toMatchObject({ outcome: 'unreachable' })
  state.isDown = false
  expect(await config.reload()).toMatchObject({ outcome: 'unchanged' })
  expect(await config.check()).toBeUndefined()
})

it('is encrypted, for its owner only, and holds what was last good: not what was refused', async () => {
  const config = await load()
  expect(readFileSync(path).toString('latin1')).not.toContain('canary-9d2e')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  state.tree = { size: 6, db: { password: 'canary-9d2e' } }
  await config.reload()
  state.tree = { size: 'seven', db: { password: 'canary-9d2e' } }
  expect(await config.reload()).toMatchObject({ outcome: 'invalid' })
  state.isDown = true
  expect((await load()).current.size).toBe(6)
})

it('is written again by every reload that all sources answered, also when nothing has changed: its age is that of the answer', async () => {
  const config = await load()
  rmSync(path)
  expect(await config.reload()).toMatchObject({ outcome: 'unchanged' })
  state.isDown = true
  expect((await load()).current.size).toBe(5)
})

it('is not used when it is missing, too old, damaged, or its key is another one: a named failure, never defaults', async () => {
  state.isDown = true
  expect(await messageOf(load())).toMatch(/^ERR_CONFIG_UNREACHABLE .*there is no local copy \(ENOENT\)/s)
  state.isDown = false
  await load()
  state.isDown = true
  expect(await messageOf(load({ key: 'another key of sixteen' }))).toContain('damaged, or its key is another one')
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 })
  expect(await messageOf(load())).toContain('too old')
  vi.useRealTimers()
  const content = readFileSync(path)
  content[content.length - 1]! ^= 1
  writeFileSync(path, content)
  const message = await messageOf(load())
  expect(message).toContain('damaged')
  expect(message).not.toContain('canary')
  writeFileSync(path, 'short')
  expect(await messageOf(load())).toContain('is not one')
})

it('comes after bounded retries', async () => {
  await load()
  Object.assign(state, { isDown: true, reads: 0 })
  const startedAt = performance.now()
  await load({ retryMs: 500 })
  expect(state.reads).toBeGreaterThan(2)
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(450)
  expect(await messageOf(load({ key: 'short' }))).toContain('lastKnownGood.key')
})

it('without a copy the start fails by name', async () => {
  state.isDown = true
  const loading = definition.load({ sources: [remote], retryMs: 100 })
  expect(await messageOf(loading)).toContain('ERR_CONFIG_UNREACHABLE')
})
