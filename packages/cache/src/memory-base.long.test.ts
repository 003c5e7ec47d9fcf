import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'

it('a million misses, a million tags and 200,000 expired entries leave nothing behind', { timeout: 600_000 }, () => {
  const program = join(import.meta.dirname, 'memory-base.fixture.ts')
  const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--conditions=@platform/source', program], { encoding: 'utf8' })
  expect(stderr).toBe('')
  const { stays, entries } = JSON.parse(stdout) as { stays: Record<string, number>; entries: number }
  expect(entries).toBeLessThanOrEqual(10)
  expect(Object.values(stays)).toHaveLength(4)
  expect(Object.entries(stays).filter(([, megabytes]) => megabytes > 5)).toEqual([])
})
