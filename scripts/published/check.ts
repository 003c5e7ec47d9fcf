import { root } from '../pinned-node.ts'
import { join } from 'node:path'
import { publishLocally } from '../local-registry.ts'
import { checkEsbuild } from './bundles.ts'
import type { Counts } from '../step.ts'
import { counting, execute } from './checks.ts'
import { checkFirstResults, type Runtimes } from './first-results.ts'
import { runFirstService } from './first-service.ts'
import { checkInstalls, checkTools, runWithOwnTelemetry, withOwnTelemetry } from './installs.ts'
import { installProject, workspaceVersions } from './project.ts'
import { checkTarballs } from './tarballs.ts'
import { checkTypes } from './type-matrix.ts'

/** Where the servers are that the programs talk to. */
export type Addresses = Readonly<Record<'DATABASE_URL' | 'REDIS_URL' | 'AMQP_URL' | 'CONSUL_URL', string>>

const pinnedRuntimes: Runtimes = { 'node 24': process.execPath, 'node 22': join(root, 'node_modules/node22/bin/node') }

/**
 * Publishes to a local registry, looks into what was packed, and uses it outside of the workspace: types under every compiler and mode, the
 * first lines of each README, one application with every package, bundled, and one with an OpenTelemetry of its own.
 */
export async function checkPublished(env: Addresses, runtimes: Runtimes = pinnedRuntimes): Promise<Counts> {
  await using registry = await publishLocally({ onProgress: (line) => console.log(`  ${line}`) })
  const { check, counts } = counting()
  await checkTarballs(registry, check)
  await check('release:local says who has its port', () => checkTakenPort(new URL(registry.url).port))

  await check('a project with every package, by pnpm', async () => {
    const versions = { '@types/node': workspaceVersions['@types/node']! }
    using project = await installProject(registry, { manager: 'pnpm', versions })
    await checkTypes(project.folder, registry, check)
    await checkFirstResults(project, registry, check, { runtimes, env })
    project.add('platform-telemetry.mjs', 'recorder.mjs')
    const program = project.add('everything.mjs')
    await check('one application with every package', () => project.run(program, { env }))
    await checkEsbuild(project, program, check, { env })
  })
  await check('a project with an OpenTelemetry of its own, by npm', async () => {
    using project = await installProject(registry, { ...withOwnTelemetry, manager: 'npm' })
    await runWithOwnTelemetry(project, { env })
  })
  await check('the program of the README, as a project of its own', () => runFirstService(registry, env))
  console.log(`  ${counts.passed} checks of ${registry.packages.length} packages passed, ${counts.failed} failed`)
  return counts
}

async function checkTakenPort(port: string): Promise<void> {
  const release = execute(process.execPath, [join(root, 'scripts/release-local.ts'), '--port', port])
  const refused = await release.catch((error: { code: number; stderr: string }) => error)
  if (!refused.stderr.includes(`port ${port} is taken by process ${process.pid} (`)) throw new Error(`it says: ${refused.stderr}`)
}

/** What takes minutes: projects that have something older, other package managers, runtimes, bundlers and test runners. */
export async function checkPublishedLong(env: Addresses): Promise<Counts> {
  await using registry = await publishLocally({ onProgress: (line) => console.log(`  ${line}`) })
  const { check, counts } = counting()
  await checkInstalls(registry, check, env)
  await checkTools(registry, check, env)
  return counts
}
