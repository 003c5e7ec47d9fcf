import { execFile, type ExecFileOptions } from 'node:child_process'
import { promisify } from 'node:util'
import type { Counts } from '../step.ts'

const run = promisify(execFile)

/** Rejects, with `stdout` and `stderr` in the error, unless the program ends with 0. */
export async function execute(
  program: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<{ stdout: string; stderr: string }> {
  return await run(program, args, { ...options, encoding: 'utf8', maxBuffer: 64e6 })
}

/** One named check of a gate: runs it, counts it, tells of a failure with all its output. */
export type Check = (name: string, work: () => unknown) => Promise<void>

export function counting(): { check: Check; counts: Counts } {
  const counts = { passed: 0, failed: 0, reasons: [] as string[] }
  const check: Check = async (name, work) => {
    try {
      await work()
      counts.passed++
    } catch (error) {
      counts.failed++
      const { message, stdout, stderr } = error as Error & { stdout?: string; stderr?: string }
      const reason = `${name}: ${message}\n${stdout ?? ''}${stderr ?? ''}`
      counts.reasons.push(reason)
      console.error(`FAIL ${reason}`)
    }
  }
  return { check, counts }
}

/** Runs the work on each item, as many at once as there are processors to spare. */
export async function two<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items]
  const lane = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all([lane(), lane()])
}
