import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'

export const root: string = resolve(import.meta.dirname, '..')

/** In the repository's root; resolves with what it printed. */
export async function runRoot(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return (await promisify(execFile)(command, [...args], { cwd: root, env: { ...process.env, ...env }, maxBuffer: 256e6 })).stdout
}
