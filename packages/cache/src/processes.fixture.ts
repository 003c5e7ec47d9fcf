import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startRedis } from '@platform/stack'
import type { ProcessResult, ProcessSettings } from './one-process.fixture.ts'

/** Runs real processes over a Redis of their own and tells what each of them saw. */
export async function runProcesses(settings: Omit<ProcessSettings, 'url' | 'index'>): Promise<ProcessResult[]> {
  const server = await startRedis({ fresh: true })
  try {
    return await Promise.all(
      Array.from({ length: settings.processes }, async (_, index): Promise<ProcessResult> => {
        const given: ProcessSettings = { ...settings, url: server.url, index }
        const program = join(import.meta.dirname, 'one-process.fixture.ts')
        const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=@platform/source', program, JSON.stringify(given)])
        return JSON.parse(stdout) as ProcessResult
      }),
    )
  } finally {
    await server.stop()
  }
}

/** What the processes did together: a run in which one of these is nought proves nothing. */
export function sumOf(results: readonly ProcessResult[]): Record<'reads' | 'writes' | 'withToken' | 'hits' | 'misses' | 'stale', number> {
  const sum = { reads: 0, writes: 0, withToken: 0, hits: 0, misses: 0, stale: 0 }
  for (const { reads, writes, withToken, served } of results) {
    for (const [name, count] of Object.entries({ reads, writes, withToken, ...served })) sum[name as keyof typeof sum] += count
  }
  return sum
}
