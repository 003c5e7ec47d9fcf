import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse, parseDocument } from 'yaml'
import { copyRepository } from '../local-registry.ts'
import { bin } from '../pinned-node.ts'
import { run, type StepResult, step } from '../step.ts'
import type { Counts } from '../step.ts'
import { execute } from './checks.ts'

/** Where a suite needs more than the floor of a library, for itself: its own SDK, not the package, asks for it. */
const suitesNeed: Readonly<Record<string, string>> = { '@opentelemetry/api': '1.10.0' }

/** `^5.3.2 || ^6.0.0` gives 5.3.2: the oldest version that a range takes. */
export function floorOf(range: string): string {
  const floor = /^[\^~>=]*(\d+\.\d+\.\d+)/.exec(range)?.[1]
  if (!floor) throw new Error(`pnpm-workspace.yaml: the range ${range} has no floor`)
  return floor
}

/**
 * Runs the packages' suites, in a copy of this repository, with everything that they ask of a project at the oldest version of its range.
 */
export async function floorSuites(folder: string, env: NodeJS.ProcessEnv): Promise<StepResult[]> {
  await copyRepository(folder)
  const file = join(folder, 'pnpm-workspace.yaml')
  const text = readFileSync(file, 'utf8')
  const { catalog, catalogs } = parse(text) as { catalog: Record<string, string>; catalogs: { published: Record<string, string> } }
  const settings = parseDocument(text)
  for (const [name, range] of Object.entries(catalogs.published)) {
    const floor = suitesNeed[name] ?? floorOf(range)
    settings.setIn(['catalogs', 'published', name], floor)
    if (name in catalog) settings.setIn(['catalog', name], floor)
  }
  // Nest's own packages only fit together.
  for (const name of Object.keys(catalog)) {
    if (/^@nestjs\/(platform-.*|microservices|swagger|terminus|testing)$/.test(name))
      settings.setIn(['catalog', name], floorOf(catalogs.published['@nestjs/core']!))
  }
  // Prisma's adapter takes a pool only from its own copy of pg, so a project has one of it, and this one as well.
  settings.setIn(['overrides', 'pg'], floorOf(catalogs.published['pg']!))
  writeFileSync(file, settings.toString())
  await execute('pnpm', ['install', '--no-frozen-lockfile', '--prefer-offline'], { cwd: folder })
  await execute(bin('turbo'), ['run', 'build', '--filter=./packages/*'], { cwd: folder })

  const steps: StepResult[] = []
  for (const manifest of globSync('packages/*/package.json', { cwd: folder }).toSorted()) {
    const { name, private: kept } = JSON.parse(readFileSync(join(folder, manifest), 'utf8')) as { name: string; private?: boolean }
    if (kept) continue
    steps.push(await step(`${name} on the oldest of what it takes`, () => runSuite(join(folder, dirname(manifest)), env)))
  }
  return steps
}

async function runSuite(folder: string, env: NodeJS.ProcessEnv): Promise<Counts> {
  const code = await run(process.execPath, ['../../scripts/run-suite.ts', 'test'], env, folder)
  const report = JSON.parse(readFileSync(join(folder, 'reports/test.json'), 'utf8')) as { numPassedTests: number; numFailedTests: number }
  return { passed: report.numPassedTests, failed: report.numFailedTests || (code === 0 ? 0 : 1) }
}
