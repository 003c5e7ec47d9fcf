import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { findServerProcesses } from '@platform/stack'
import { expect, it } from 'vitest'

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))

it('runs from source, restarts what an edit of a library concerns, and ends with Ctrl-C', async () => {
  const runId = randomBytes(6).toString('hex')
  const dev = spawn(process.execPath, ['--conditions=@platform/source', file('dev.ts')], {
    env: { ...process.env, PLATFORM_STACK_RUN: runId },
  })
  let output = ''
  for (const stream of [dev.stdout, dev.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  const left = new Promise<number | null>((resolve) => dev.once('close', resolve))
  const ready = () => output.split('service is ready').length - 1

  try {
    await expect.poll(() => output, { timeout: 60_000 }).toContain('Ctrl-C ends it all')
    const [url] = /http:\/\/127\.0\.0\.1:\d+\/films\?query=matrix/.exec(output) ?? []
    expect(await (await fetch(url!)).text()).toContain('The Matrix')
    await expect.poll(ready, { timeout: 20_000 }).toBeGreaterThanOrEqual(5)
    const before = ready()

    const library = file('../../../packages/health/src/health.ts')
    writeFileSync(library, readFileSync(library))
    await expect.poll(ready, { timeout: 60_000 }).toBeGreaterThanOrEqual(before + 5)
    expect(await (await fetch(url!)).text()).toContain('The Matrix')
  } finally {
    dev.kill('SIGINT')
  }
  expect(await left).toBe(0)
  await expect.poll(() => findServerProcesses(runId), { timeout: 20_000 }).toEqual([])
}, 180_000)
