import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testConsul } from '@platform/stack/testing'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { defineConfig, secret } from '../index.ts'
import { consulKv } from '../sources/consul.ts'
import { ConsulStore } from './consul-store.ts'
import { main } from './main.ts'
import { carryOut, historyBelow, planPush } from './push.ts'

const module = join(import.meta.dirname, 'push.fixture.ts')
let place: Awaited<ReturnType<typeof testConsul>>
let folder: string
let prefix: string
let count = 0
beforeAll(async () => {
  place = await testConsul()
  return () => place.close()
})
beforeEach(() => {
  prefix = `${place.prefix}-push-${++count}`
  folder = mkdtempSync(join(tmpdir(), 'settings-'))
  return () => rmSync(folder, { recursive: true })
})

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)
async function run(command: string, ...argv: string[]) {
  let [out, err] = ['', '']
  const folders = command === 'history' ? [] : [folder]
  const args = [command, module, ...folders, '--to', prefix, '--consul', place.url, ...argv]
  const code = await main(args, { out: (text) => (out += text), err: (text) => (err += text) })
  return { code, out, err }
}
const put = async (key: string, value: string): Promise<void> => {
  await (await fetch(`${place.url}/v1/kv/${prefix}/${key}`, { method: 'PUT', body: value })).text()
}

describe('push', () => {
  it('makes Consul what the folder says, in one step, and what is read there is what was written', async () => {
    write('default.yaml', 'size: 5\nhosts: [a, "b, c"]\nlabels: { tier: gold }\ngreeting: "true"\n')
    write('production.yaml', 'size: 50\n')
    expect(await run('diff', '--environment', 'production')).toMatchObject({ code: 1, out: expect.stringContaining('+ size = 50\n') })
    expect(await run('push', '--environment', 'production', '--dry-run')).toMatchObject({
      code: 0,
      out: expect.stringContaining('none of them made'),
    })
    expect(await run('diff', '--environment', 'production')).toMatchObject({ code: 1 })

    expect(await run('push', '--environment', 'production', '--note', 'commit 1')).toMatchObject({
      code: 0,
      out: expect.stringContaining(`revision 1 of ${prefix}: 4 changes, at once.`),
    })
    const { settings } = (await import('./push.fixture.ts')) as { settings: ReturnType<typeof defineConfig> }
    await using config = await settings.load({ sources: [consulKv({ url: place.url, prefix })], retryMs: 0 })
    expect(config.current).toMatchObject({ size: 50, hosts: ['a', 'b, c'], labels: { tier: 'gold' }, greeting: 'true' })
    expect(config.warnings).toEqual([])
    expect(await run('diff', '--environment', 'production')).toEqual({ code: 0, out: '', err: '' })
  })

  it('takes away what the folder says no more, leaves secrets alone, and keeps a history', async () => {
    write('default.yaml', 'size: 5\ngreeting: hello\n')
    await run('push')
    await put('db/password', 'of somebody else')
    await put('sise', 'canary')
    write('default.yaml', 'size: 6\n')
    const { out } = await run('push', '--note', 'less')
    expect(out).toContain('~ size = 5 → 6\n')
    expect(out).toContain('- greeting = hello\n')
    expect(out).toContain('- sise = (no setting)\n')
    const stored = await new ConsulStore(place.url, undefined).read(prefix)
    expect([...stored.keys()].toSorted()).toEqual(['db/password', 'size'])
    const history = await run('history')
    expect(history.out).toMatch(/^1 [^]*\+ greeting = hello[^]*\n2 .* less\n[^]*size = 5 → 6/)
    expect(history.out).not.toContain('canary')
  })

  it('refuses what is wrong, unknown, secret or cannot be said, all at once, and writes nothing', async () => {
    write('default.yaml', 'size: many\nsise: 3\ngreeting: ""\ndb: { password: canary-secret }\n')
    const { code, out, err } = await run('push')
    expect(code).toBe(1)
    expect(out).toBe('')
    for (const problem of [
      'size: expected',
      'sise: expected the name of a setting',
      'greeting: has a value that no text',
      'db.password: is a secret',
    ])
      expect(err).toContain(problem)
    expect(err).not.toContain('canary')
    expect((await new ConsulStore(place.url, undefined).read(prefix)).size).toBe(0)
  })

  it('of two who push at the same time one is told, and nothing of it is written', async () => {
    write('default.yaml', 'size: 5\n')
    await run('push')
    const store = new ConsulStore(place.url, undefined)
    const settings = defineConfig({ schema: z.object({ size: z.int(), password: secret(z.string()).optional() }) })
    const plan = planPush(prefix, new Map([['size', '7']]), await store.read(prefix), settings.fields)
    await put('size', '6')
    await expect(carryOut(store, prefix, plan, undefined)).rejects.toThrow('nothing was written')
    expect((await store.read(prefix)).get('size')?.text).toBe('6')
    expect(await historyBelow(store, prefix)).toHaveLength(1)
  })

  it('says how it was called wrongly, and what Consul answered', async () => {
    expect(await main(['push', module, folder], { out: () => {}, err: () => {} })).toBe(2)
    write('default.yaml', 'size: 5\n')
    const away = await run('push', '--consul', 'http://127.0.0.1:1')
    expect(away).toMatchObject({ code: 1, err: expect.stringContaining('no answer from 127.0.0.1:1') })
  })
})
