import type { LocalRegistry } from '../local-registry.ts'
import { type Check, execute } from './checks.ts'
import { installProject, type Project, type ProjectOptions, type RunOptions, workspaceVersions } from './project.ts'
import { checkTypes } from './type-matrix.ts'

/** All packages but telemetry, which brings an SDK, and what imports it. */
const withoutSdk = ['cache', 'config', 'db-pool', 'discovery', 'health', 'logger', 'queue', 'resilience', 'service']

/** An application that has had its OpenTelemetry and its Redis client for long: both older than what this workspace has. */
export const withOwnTelemetry: Pick<ProjectOptions, 'packages' | 'versions'> = {
  packages: withoutSdk,
  versions: {
    '@opentelemetry/api': '1.9.0',
    '@opentelemetry/sdk-metrics': '2.0.0',
    '@opentelemetry/sdk-trace-base': '2.0.0',
    ioredis: '5.11.1',
  },
}

/** Everything at once, with spans and metrics in the application's own SDK. */
export async function runWithOwnTelemetry(project: Project, options: RunOptions): Promise<void> {
  project.add('own-sdk.mjs', 'recorder.mjs')
  await project.run(project.add('everything.mjs'), options)
}

type Work = (project: Project, options: RunOptions) => Promise<unknown>

interface Install {
  readonly name: string
  readonly options: ProjectOptions
  readonly work: Work
}

const types = { '@types/node': workspaceVersions['@types/node']! }

/** Projects that exist, each with one thing older or other than this workspace has. */
const installs: readonly Install[] = [
  {
    name: 'OpenTelemetry API 1.4.1 with SDK 1.15',
    options: {
      ...withOwnTelemetry,
      manager: 'npm',
      versions: {
        ...withOwnTelemetry.versions,
        '@opentelemetry/api': '1.4.1',
        '@opentelemetry/sdk-metrics': '1.15.0',
        '@opentelemetry/sdk-trace-base': '1.15.0',
      },
      // It asks for 1.9 itself.
      without: ['pg-boss'],
    },
    work: runWithOwnTelemetry,
  },
  {
    name: 'ioredis 5.3.2',
    options: { manager: 'npm', versions: { ...types, ioredis: '5.3.2' } },
    work: everything,
  },
  {
    name: 'amqplib 0.10.0',
    options: { manager: 'npm', versions: { ...types, ioredis: '5.11.1', amqplib: '0.10.0', '@types/amqplib': '0.10.8' } },
    work: everything,
  },
  {
    name: 'TypeORM 0.3.20',
    options: { manager: 'npm', versions: { ioredis: '5.11.1', typeorm: '0.3.20' } },
    work: (project, options) => project.run(project.add('typeorm.mjs'), options),
  },
  {
    name: 'TypeORM 1',
    options: { manager: 'npm', versions: { ioredis: '5.11.1' } },
    work: (project, options) => project.run(project.add('typeorm.mjs'), options),
  },
  {
    name: 'Nest 11.0.0',
    options: {
      manager: 'npm',
      versions: { ioredis: '5.11.1', '@nestjs/common': '11.0.0', '@nestjs/core': '11.0.0', '@nestjs/platform-express': '11.0.0' },
    },
    work: (project, options) => project.run(project.add('nest.mjs'), options),
  },
  { name: 'yarn classic', options: { ...withOwnTelemetry, manager: 'yarn classic' }, work: runWithOwnTelemetry },
  {
    name: 'yarn Plug’n’Play',
    options: { ...withOwnTelemetry, manager: 'yarn PnP' },
    work: (project, options) =>
      runWithOwnTelemetry(project, { ...options, command: [process.execPath, '-r', './.pnp.cjs', '--loader', './.pnp.loader.mjs'] }),
  },
]

async function everything(project: Project, options: RunOptions): Promise<void> {
  project.add('platform-telemetry.mjs', 'recorder.mjs')
  await project.run(project.add('everything.mjs'), options)
}

/** Installs into each of these projects and uses the packages there; where the project has types, compiles as well. */
export async function checkInstalls(registry: LocalRegistry, check: Check, env: Readonly<Record<string, string>>): Promise<void> {
  for (const { name, options, work } of installs) {
    await check(`a project with ${name}`, async () => {
      using project = await installProject(registry, options)
      await work(project, { env })
      if (options.versions?.['@types/node']) await checkTypes(project.folder, registry, check, ['7.0'])
    })
  }
}

/** Runtimes, bundlers and test runners, in one project; all of them come from npm. */
const tools = {
  bun: '1.4.5',
  deno: '2.9.6',
  jest: '30.5.2',
  'node-newest': 'npm:node@26.10.0',
  vitest: workspaceVersions['vitest']!,
  webpack: '5.112.2',
  'webpack-cli': '7.3.1',
}

export async function checkTools(registry: LocalRegistry, check: Check, env: Readonly<Record<string, string>>): Promise<void> {
  await check('a project with other tools', async () => {
    using project = await installProject(registry, {
      ...withOwnTelemetry,
      manager: 'npm',
      versions: { ...withOwnTelemetry.versions, ...tools },
    })
    project.add('own-sdk.mjs', 'recorder.mjs')
    project.add('webpack.config.mjs')
    project.add('cache.test.mjs')
    const program = project.add('everything.mjs')
    const tool = (name: string, args: readonly string[], more: NodeJS.ProcessEnv = {}) =>
      execute(`node_modules/.bin/${name}`, args, { cwd: project.folder, env: { ...process.env, ...more } })

    await check('run by the newest Node', () => project.run(program, { env, command: ['node_modules/node-newest/bin/node'] }))
    await check('run by Deno', () =>
      project.run(program, { env, command: ['node_modules/.bin/deno', 'run', '--allow-all', '--node-modules-dir=manual'] }),
    )
    // Bun puts a client of its own in the place of undici, without what discovery needs.
    await check('run by Bun', () => project.run(program, { env: { ...env, WITHOUT_DISCOVERY: '1' }, command: ['node_modules/.bin/bun'] }))
    await check('bundled by webpack', async () => {
      await tool('webpack', ['--config', 'webpack.config.mjs'])
      await project.run('bundles/webpack.cjs', { env })
    })
    await check('tested by vitest', () => tool('vitest', ['run', '--globals', 'cache.test.mjs']))
    await check('tested by jest', () => tool('jest', ['--testMatch', '**/cache.test.mjs'], { NODE_OPTIONS: '--experimental-vm-modules' }))
  })
}
