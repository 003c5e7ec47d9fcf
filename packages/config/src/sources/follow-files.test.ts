import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync, appendFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig, env, file, type LoadOptions, type ReloadEvent, secret, secretFiles, type Source } from '../index.ts'

const POLL = { timeout: 20_000, interval: 10 }
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-config-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const definition = defineConfig({
  schema: z.object({
    size: z.int().positive().default(1),
    level: z.string().default('info'),
    pool: z.int().default(1).meta({ reload: 'drain' }),
    port: z.int().default(8080).meta({ reload: 'restart' }),
    db: z.object({ password: secret(z.string()).optional() }).prefault({}),
  }),
})

async function loaded(sources: readonly Source[], options: Partial<LoadOptions> = {}) {
  const config = await definition.load({ sources, ...options })
  onTestFinished(() => config.close())
  const events: ReloadEvent[] = []
  config.onReload((event) => events.push(event))
  return { config, events }
}

describe('files that are followed', () => {
  const yaml = (size: number) => `size: ${size}\nlevel: level-${size}\n`

  it('as Kubernetes mounts them: three atomic symlink swaps in a row', async () => {
    const publish = (name: string, size: number) => {
      mkdirSync(join(directory, name))
      writeFileSync(join(directory, name, 'app.yaml'), yaml(size))
      writeFileSync(join(directory, name, 'db_password'), `password ${size}`)
      symlinkSync(name, join(directory, '..next'))
      renameSync(join(directory, '..next'), join(directory, '..data'))
    }
    publish('..1', 1)
    for (const name of ['app.yaml', 'db_password']) symlinkSync(`..data/${name}`, join(directory, name))
    const { config } = await loaded([file(join(directory, 'app.yaml')), secretFiles(directory)], { watch: true })
    for (const size of [2, 3, 4]) {
      publish(`..${size}`, size)
      rmSync(join(directory, `..${size - 1}`), { recursive: true })
      await vi.waitFor(() => expect(config.current).toMatchObject({ size, level: `level-${size}` }), POLL)
      await vi.waitFor(() => expect(config.current.db.password?.reveal()).toBe(`password ${size}`), POLL)
    }
  })

  it('when another file takes their name, twice', async () => {
    const path = join(directory, 'app.yaml')
    writeFileSync(path, yaml(1))
    const { config } = await loaded([file(path)], { watch: true })
    for (const size of [2, 3]) {
      writeFileSync(`${path}.new`, yaml(size))
      renameSync(`${path}.new`, path)
      await vi.waitFor(() => expect(config.current.size).toBe(size), POLL)
    }
  })

  it('when they are written in chunks: no half is applied', async () => {
    const path = join(directory, 'app.yaml')
    writeFileSync(path, yaml(1))
    const { config, events } = await loaded([file(path, { debounceMs: 300 })], { watch: true })
    const text = yaml(777)
    writeFileSync(path, '')
    for (let at = 0; at < text.length; at += 6) {
      appendFileSync(path, text.slice(at, at + 6))
      await sleep(5)
    }
    await vi.waitFor(() => expect(config.current.size).toBe(777), POLL)
    expect(events.map(({ outcome, changed }) => [outcome, changed])).toEqual([['applied', ['size', 'level']]])
  })

  it('50 writes in a second: the last one is applied, in few reloads', async () => {
    const path = join(directory, 'app.yaml')
    writeFileSync(path, yaml(1))
    const { config, events } = await loaded([file(path)], { watch: true })
    for (let size = 2; size <= 51; size++) {
      writeFileSync(`${path}.new`, yaml(size))
      renameSync(`${path}.new`, path)
      await sleep(20)
    }
    await vi.waitFor(() => expect(config.current.size).toBe(51), POLL)
    expect(events.length).toBeLessThan(10)
  })

  it('invalid, then deleted, then back: the old snapshot stays until the next good state', async () => {
    const path = join(directory, 'app.yaml')
    writeFileSync(path, yaml(1))
    const { config, events } = await loaded([file(path)], { watch: true })
    writeFileSync(path, 'size: -5\n')
    await vi.waitFor(() => expect(events.at(-1)?.outcome).toBe('invalid'), POLL)
    unlinkSync(path)
    await vi.waitFor(() => expect(String(events.at(-1)?.error)).toContain('there is none'), POLL)
    expect(config.current.size).toBe(1)
    writeFileSync(path, yaml(2))
    await vi.waitFor(() => expect(config.current.size).toBe(2), POLL)
    expect(events.at(-1)?.outcome).toBe('applied')
  })

  it('by looking alone, when their directory went and came back', async () => {
    const folder = join(directory, 'sub')
    const path = join(folder, 'app.yaml')
    mkdirSync(folder)
    writeFileSync(path, yaml(1))
    const { config } = await loaded([file(path, { pollMs: 50, optional: true })], { watch: true })
    rmSync(folder, { recursive: true })
    await vi.waitFor(() => expect(config.current).toMatchObject({ size: 1, level: 'info' }), POLL)
    mkdirSync(folder)
    writeFileSync(path, yaml(2))
    await vi.waitFor(() => expect(config.current.size).toBe(2), POLL)
    renameSync(path, `${path}.old`)
    writeFileSync(path, yaml(3))
    await vi.waitFor(() => expect(config.current.size).toBe(3), POLL)
  })

  it('also the files that variables name', async () => {
    const path = join(directory, 'password')
    writeFileSync(path, 'first password')
    const { config } = await loaded([env({ prefix: 'APP', variables: { APP_DB_PASSWORD_FILE: path } })], { watch: true })
    expect(config.current.db.password?.reveal()).toBe('first password')
    writeFileSync(path, 'second password')
    await vi.waitFor(() => expect(config.current.db.password?.reveal()).toBe('second password'), POLL)
  })

  it('not without watch, and no more after close', async () => {
    const path = join(directory, 'app.yaml')
    writeFileSync(path, yaml(1))
    const still = await loaded([file(path, { pollMs: 20 })])
    const closed = await loaded([file(path, { pollMs: 20 })], { watch: true })
    const followed = await loaded([file(path, { pollMs: 20 })], { watch: true })
    await closed.config.close()
    writeFileSync(path, yaml(2))
    await vi.waitFor(() => expect(followed.config.current.size).toBe(2), POLL)
    expect([still.config.current.size, closed.config.current.size]).toEqual([1, 1])
    expect(await still.config.reload()).toMatchObject({ outcome: 'applied' })
  })
})

describe('a change during the first read', () => {
  it('is not missed', async () => {
    const path = join(directory, 'app.yaml')
    writeFileSync(path, yamlOf(1))
    const slow: Source = {
      name: 'slow',
      async read() {
        await sleep(300)
        return {}
      },
    }
    const loading = definition.load({ sources: [file(path), slow], watch: true })
    await sleep(150)
    writeFileSync(path, yamlOf(2))
    const config = await loading
    onTestFinished(() => config.close())
    await vi.waitFor(() => expect(config.current.size).toBe(2), POLL)
  })
})
const yamlOf = (size: number) => `size: ${size}\n`
