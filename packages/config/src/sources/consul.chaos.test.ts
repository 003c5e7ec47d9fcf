import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startConsul } from '@platform/stack'
import { expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig } from '../index.ts'
import { consulKv } from './consul.ts'

const POLL = { timeout: 90_000, interval: 50 }
const definition = defineConfig({ schema: z.object({ size: z.int().default(1) }) })

it('goes on through the death of the agent, starts from the copy meanwhile, and follows again afterwards', async () => {
  const server = await startConsul({ fresh: true })
  onTestFinished(() => server.stop())
  const put = (size: number) => fetch(`${server.url}/v1/kv/app/size`, { method: 'PUT', body: String(size) }).then((answer) => answer.text())
  await put(5)
  const directory = mkdtempSync(join(tmpdir(), 'platform-config-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const options = {
    sources: [consulKv({ url: server.url, prefix: 'app', waitMs: 2_000 })],
    watch: true,
    retryMs: 500,
    lastKnownGood: { path: join(directory, 'copy'), key: 'sixteen characters', maxAgeMs: 3_600_000 },
  }
  const config = await definition.load(options)
  onTestFinished(() => config.close())

  await server.kill()
  expect(await config.reload()).toMatchObject({ outcome: 'unreachable' })
  expect(config.current.size).toBe(5)
  const late = await definition.load({ ...options, sources: [consulKv({ url: server.url, prefix: 'app' })] })
  onTestFinished(() => late.close())
  expect(late.current.size).toBe(5)
  expect(late.explain('size').location).toBe('local copy of consul:app')
  expect(await late.check()).toMatchObject({ status: 'warn', message: expect.stringContaining('the local copy') as string })

  await server.restart()
  await vi.waitFor(async () => expect(await late.check()).toBeUndefined(), POLL)
  await vi.waitFor(() => put(6), POLL)
  for (const each of [config, late]) await vi.waitFor(() => expect(each.current.size).toBe(6), POLL)
}, 240_000)
