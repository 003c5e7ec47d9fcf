import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const program = fileURLToPath(new URL('./many-breakers.fixture.ts', import.meta.url))

it('10,000 breakers made and dropped leave no timer and no memory, and the process exits by itself', async () => {
  const args = ['--expose-gc', '--conditions=@platform/source', program]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 25_000, killSignal: 'SIGKILL' })
  const { grownBytes, bytesPerKey, timers, states } = JSON.parse(stdout) as {
    grownBytes: number
    bytesPerKey: number
    timers: number
    states: string[]
  }
  expect(timers).toBe(0)
  expect(states).toEqual(['open', 'half-open', 'half-open'])
  expect(grownBytes, 'far below the size of 10,000 breakers').toBeLessThan(4_000_000)
  expect(bytesPerKey).toBeLessThan(1536)
})
