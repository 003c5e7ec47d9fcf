import { spawn } from 'node:child_process'
import { root } from './pinned-node.ts'

export interface StepResult {
  readonly name: string
  readonly passed: number
  readonly failed: number
  readonly durationMs: number
}

/** Runs a command with its output in view. Ctrl-C reaches it by itself: it is in the same foreground group. */
export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd: string = root): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: 'inherit', env: { ...process.env, ...env } })
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(code ?? (signal ? 1 : 0)))
  })
}

/** Times one step of a gate; `work` says how many checks passed and failed. */
export async function step(name: string, work: () => Promise<{ passed: number; failed: number }>): Promise<StepResult> {
  console.log(`\n── ${name}`)
  const startedAt = performance.now()
  try {
    const counts = await work()
    return { name, ...counts, durationMs: performance.now() - startedAt }
  } catch (error) {
    console.error(error)
    return { name, passed: 0, failed: 1, durationMs: performance.now() - startedAt }
  }
}

/** One check that is a whole command. */
export function command(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): () => Promise<{ passed: number; failed: number }> {
  return async () => ((await run(program, args, env)) === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 })
}
