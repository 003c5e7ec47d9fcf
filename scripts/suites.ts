import { existsSync, globSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { bin, root } from './pinned-node.ts'
import { type Counts, run } from './step.ts'

/** Every package and example, by its folder. */
export const packages: readonly string[] = globSync('{packages,examples}/*/package.json', { cwd: root }).map((file) => dirname(file))

export function hasSuite(folder: string, suite: string): boolean {
  const { scripts } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  return scripts[suite === 'test' ? 'test' : `test:${suite}`] !== undefined
}

/** What vitest's JSON reporter writes, as far as it is read here. */
interface Report {
  readonly numPassedTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: readonly {
      readonly fullName: string
      readonly status: string
      readonly failureMessages: readonly string[]
    }[]
  }[]
}

interface FailedFile {
  readonly folder: string
  readonly file: string
  /** One text for each failed test, or one for a file that failed as a whole. */
  readonly reasons: readonly string[]
}

function failedFiles(folder: string, { testResults }: Report): FailedFile[] {
  return testResults
    .filter(({ status }) => status === 'failed')
    .map(({ name, message, assertionResults }) => {
      const file = relative(root, name)
      const tests = assertionResults.filter(({ status }) => status === 'failed')
      const reasons = tests.map((test) => `${file} > ${test.fullName}\n${test.failureMessages.join('\n')}`)
      return { folder, file, reasons: reasons.length > 0 ? reasons : [`${file}\n${message}`] }
    })
}

/** What the suite of one package left in `reports/`; undefined where it ended before it could report. */
function readReport(folder: string, suite: string): Report | undefined {
  const file = join(root, folder, 'reports', `${suite}.json`)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : undefined
}

const forgetReport = (folder: string, suite: string): void => rmSync(join(root, folder, 'reports', `${suite}.json`), { force: true })

/** Runs a suite of every package that has it, through turbo. `folders` are those of the packages that it is about. */
export function suite(
  name: string,
  env: NodeJS.ProcessEnv,
  args: readonly string[],
  folders: readonly string[] = packages,
): () => Promise<Counts> {
  return async () => {
    const { passed, failed, lost } = await runSuites(name, env, args, folders)
    const reasons = [...lost, ...failed.flatMap((file) => file.reasons)]
    return { passed, failed: reasons.length, reasons }
  }
}

/**
 * The same, and a file that failed is run once more by itself. What passes then is told as flaky, by name: a fault of the test or of the code that
 * somebody must find, but not one that this change is refused for. More than `most` of them are failures. For suites that start and kill servers and
 * processes on a machine that others share; see docs/decisions/0045.
 */
export function suiteWithSecondTry(name: string, env: NodeJS.ProcessEnv, args: readonly string[], most = 2): () => Promise<Counts> {
  return async () => {
    const first = await runSuites(name, env, args, packages)
    const reasons = [...first.lost]
    const flaky: string[] = []
    for (const { folder, file, reasons: firstReasons } of first.failed) {
      forgetReport(folder, name)
      const code = await run(process.execPath, [join(root, 'scripts/run-suite.ts'), name, relative(folder, file)], env, join(root, folder))
      const again = readReport(folder, name)
      if (code === 0 && again !== undefined && again.numPassedTests > 0) flaky.push(...firstReasons)
      else reasons.push(...(again === undefined ? firstReasons : failedFiles(folder, again).flatMap((failed) => failed.reasons)))
    }
    if (flaky.length > most) return { passed: first.passed, failed: reasons.length + flaky.length, reasons: [...reasons, ...flaky] }
    return { passed: first.passed + flaky.length, failed: reasons.length, reasons, flaky }
  }
}

async function runSuites(
  name: string,
  env: NodeJS.ProcessEnv,
  args: readonly string[],
  folders: readonly string[],
): Promise<{ passed: number; failed: FailedFile[]; lost: string[] }> {
  const concerned = folders.filter((folder) => hasSuite(folder, name))
  for (const folder of concerned) forgetReport(folder, name)
  const task = name === 'test' ? 'test' : `test:${name}`
  const filters = folders === packages ? [] : folders.map((folder) => `--filter=./${folder}`)
  const code = await run(bin('turbo'), ['run', task, '--continue', '--output-logs=new-only', ...filters, ...args], env)
  const reports = concerned.map((folder) => ({ folder, report: readReport(folder, name) }))
  const failed = reports.flatMap(({ folder, report }) => (report ? failedFiles(folder, report) : []))
  const lost = reports.filter(({ report }) => !report).map(({ folder }) => `${folder} left no report of its ${name} suite`)
  if (code !== 0 && failed.length === 0 && lost.length === 0) lost.push(`turbo run ${task} ended with ${code}`)
  const passed = reports.reduce((sum, { report }) => sum + (report?.numPassedTests ?? 0), 0)
  return { passed, failed, lost }
}
