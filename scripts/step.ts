import { spawn } from 'node:child_process'
import { inspect } from 'node:util'
import { root } from './pinned-node.ts'

/** What a step has found: `reasons` has a text for each failure that can name itself, `flaky` one for what failed and passed when run again. */
export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly reasons?: readonly string[]
  readonly flaky?: readonly string[]
}

export interface StepResult extends Counts {
  readonly name: string
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
export async function step(name: string, work: () => Promise<Counts>): Promise<StepResult> {
  console.log(`\n── ${name}`)
  const startedAt = performance.now()
  try {
    const counts = await work()
    return { name, ...counts, durationMs: performance.now() - startedAt }
  } catch (error) {
    console.error(error)
    return { name, passed: 0, failed: 1, reasons: [inspect(error)], durationMs: performance.now() - startedAt }
  }
}

/** One check that is a whole command. */
export function command(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): () => Promise<Counts> {
  return async () => ((await run(program, args, env)) === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 })
}
