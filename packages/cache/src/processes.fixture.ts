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
