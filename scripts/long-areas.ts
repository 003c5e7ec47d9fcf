import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { missingForDeploy } from './compose/deploy-needs.ts'
import { type Addresses, checkPublishedLong } from './published/check.ts'
import { floorSuites } from './published/floors.ts'
import { type Counts, command, type StepResult, step } from './step.ts'
import { hasSuite, packages, suite } from './suites.ts'

interface Servers {
  /** As the suites find them. */
  readonly suites: NodeJS.ProcessEnv
  /** As an application finds them. */
  readonly programs: Addresses
}

type Area = (servers: Servers) => Promise<StepResult[]>

export const demo = (...args: string[]): (() => Promise<Counts>) => command(process.execPath, ['scripts/demo.ts', ...args])

const longSuite = async (folder: string, { suites }: Servers): Promise<StepResult> =>
  step(`long suite of ${folder}`, suite('long', suites, ['--concurrency=1'], [folder]))

/** What `test:long` runs, by the name that chooses it: the long suite of a package, what people install, the store replaced and broken in every way. */
const areas: Readonly<Record<string, Area>> = {
  ...Object.fromEntries(
    packages
      .filter((folder) => hasSuite(folder, 'long'))
      .map((folder): [string, Area] => [basename(folder), async (servers) => [await longSuite(folder, servers)]]),
  ),
  published,
  failover: async () => withEngine('each leader dies in turn', 'scripts/infra.ts', 'failover'),
  ha: async () => withEngine('a store with --ha is watched and rotated', '--conditions=@platform/source', 'scripts/test-compose.ts', 'ha'),
  rehearse: async () => withEngine('every alert fires, finds its receiver and resolves', 'scripts/infra.ts', 'rehearse'),
  // On a swarm of this machine alone.
  stack: async () => withEngine('the stack is deployed and replaced', 'scripts/infra.ts', 'rehearse-stack'),
  // The commands of the workflow, from a clone and a registry on this machine.
  deploy: async () => {
    const missing = missingForDeploy()
    if (missing === undefined)
      return withEngine('the workflow deploys over SSH', '--conditions=@platform/source', 'scripts/test-compose.ts', 'deploy')
    console.log(`\nThe deploy over SSH is not tested: ${missing}`)
    return []
  },
  demo: async (servers) => [await longSuite('examples/demo', servers), ...(await books())],
}

/** The areas named, or all. An unknown one ends the run before it starts. */
export function chooseAreas(names: readonly string[]): readonly string[] {
  const known = Object.keys(areas)
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    console.error(`no long tests of ${unknown.join(', ')}; there are: ${known.join(', ')}`)
    process.exit(1)
  }
  return names.length > 0 ? names : known
}

export const runArea = (name: string, servers: Servers): Promise<StepResult[]> => areas[name]!(servers)

async function published({ suites, programs }: Servers): Promise<StepResult[]> {
  const installs = await step('installed into projects that exist', () => checkPublishedLong(programs))
  const folder = mkdtempSync(join(tmpdir(), 'platform-floors-'))
  try {
    return [installs, ...(await floorSuites(join(folder, 'repository'), suites))]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function withEngine(what: string, ...args: string[]): Promise<StepResult[]> {
  if (spawnSync('docker', ['info'], { stdio: 'ignore' }).status === 0) return [await step(what, command(process.execPath, args))]
  console.log(`\nNo container engine answers: ${what} is not tested. \`pnpm infra doctor\` says what is missing.`)
  return []
}

/** Ten times in a row without a miss in each mode, then every failure with three seeds. */
async function books(): Promise<StepResult[]> {
  const seeds = (count: number) => Array.from({ length: count }, (_, index) => ['--seed', String(index + 1)])
  const steps: StepResult[] = []
  for (const mode of ['embedded', 'native']) {
    const calm = seeds(10).map((seed) => ['--strict', ...seed])
    const broken = ['worker', 'catalog', 'database'].flatMap((chaos) => seeds(3).map((seed) => ['--chaos', chaos, ...seed]))
    for (const how of [...calm, ...broken]) {
      const what = ['--mode', mode, ...how]
      steps.push(await step(`demo ${what.join(' ')}`, demo(...what)))
    }
  }
  return steps
}
