import { existsSync, globSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { bin, root } from './pinned-node.ts'
import { run } from './step.ts'

/** Every package and example, by its folder. */
export const packages: readonly string[] = globSync('{packages,examples}/*/package.json', { cwd: root }).map((file) => dirname(file))

export function hasSuite(folder: string, suite: string): boolean {
  const { scripts } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  return scripts[suite === 'test' ? 'test' : `test:${suite}`] !== undefined
}

/** Adds up what a suite left in `reports/`; a package that left none has failed. */
function readReports(suite: string, folders: readonly string[]): { passed: number; failed: number } {
  let passed = 0
  let failed = 0
  for (const folder of folders) {
    if (!hasSuite(folder, suite)) continue
    const file = join(root, folder, 'reports', `${suite}.json`)
    if (!existsSync(file)) {
      console.error(`${folder} left no report of its ${suite} suite`)
      failed++
      continue
    }
    const report = JSON.parse(readFileSync(file, 'utf8')) as { numPassedTests: number; numFailedTests: number; success: boolean }
    passed += report.numPassedTests
    failed += report.numFailedTests || (report.success ? 0 : 1)
  }
  return { passed, failed }
}

/** Runs a suite of every package that has it, through turbo. `folders` are those of the packages that it is about. */
export function suite(
  name: string,
  env: NodeJS.ProcessEnv,
  args: readonly string[],
  folders: readonly string[] = packages,
): () => Promise<{ passed: number; failed: number }> {
  return async () => {
    for (const folder of folders) rmSync(join(root, folder, 'reports', `${name}.json`), { force: true })
    const task = name === 'test' ? 'test' : `test:${name}`
    const filters = folders === packages ? [] : folders.map((folder) => `--filter=./${folder}`)
    const code = await run(bin('turbo'), ['run', task, '--continue', '--output-logs=new-only', ...filters, ...args], env)
    const counts = readReports(name, folders)
    return code !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
  }
}
