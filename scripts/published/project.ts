import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { LocalRegistry } from '../local-registry.ts'
import { root } from '../pinned-node.ts'
import { execute } from './checks.ts'

export type Manager = 'npm' | 'pnpm' | 'yarn classic' | 'yarn PnP'

export interface ProjectOptions {
  readonly manager: Manager
  /** Names without the scope; all of them if left out. */
  readonly packages?: readonly string[]
  /** What the project has besides the packages and their peers, and versions other than this workspace's. */
  readonly versions?: Readonly<Record<string, string>>
  /** Optional peers that the project does not have. */
  readonly without?: readonly string[]
}

export interface Project extends Disposable {
  readonly folder: string
  /** Copies a program of `programs/` into the project. */
  add(program: string, as?: string): string
  /** Runs a file of the project with Node or another runtime; rejects unless it ends with 0 in time. */
  run(file: string, options?: RunOptions): Promise<string>
}

export interface RunOptions {
  /** The runtime and its options. */
  readonly command?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

const runLimitMs = 120_000

/** Installs the packages and every peer that they name, as a user outside of this workspace would. */
export async function installProject(registry: LocalRegistry, options: ProjectOptions): Promise<Project> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-consumer-'))
  try {
    writeFileSync(
      join(folder, 'package.json'),
      JSON.stringify({ name: 'consumer', private: true, dependencies: dependencies(registry, options) }, null, 2),
    )
    await installers[options.manager](folder, registry.url)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return {
    folder,
    add(program, as = program) {
      cpSync(join(import.meta.dirname, 'programs', program), join(folder, as))
      return as
    },
    async run(file, { command = [process.execPath], env = {} } = {}) {
      const [program, ...args] = command
      const { PATH, HOME } = process.env
      const { stdout } = await execute(program!, [...args, file], { cwd: folder, env: { PATH, HOME, ...env }, timeout: runLimitMs })
      return stdout
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Nest's own peers, which a Nest application has. */
const besideNest = ['reflect-metadata', 'rxjs', '@nestjs/platform-express']

function dependencies(
  { packages }: LocalRegistry,
  { packages: names, versions = {}, without = [] }: ProjectOptions,
): Record<string, string> {
  const chosen = packages.filter(({ name }) => names === undefined || names.includes(name.split('/')[1]!))
  const wanted: Record<string, string> = Object.fromEntries(chosen.map(({ name, version }) => [name, version]))
  for (const { manifest } of chosen) {
    for (const [peer, range] of Object.entries(manifest.peerDependencies ?? {})) {
      if (!peer.startsWith('@platform/') && !without.includes(peer)) wanted[peer] = workspaceVersions[peer] ?? range
    }
  }
  if ('@nestjs/core' in wanted) for (const name of besideNest) wanted[name] = workspaceVersions[name]!
  return { ...wanted, ...versions }
}

/** The exact versions that this workspace is tested with: a release of somebody else does not change a run. */
export const workspaceVersions: Readonly<Record<string, string>> = (
  parse(readFileSync(join(root, 'pnpm-workspace.yaml'), 'utf8')) as { catalog: Record<string, string> }
).catalog

const installers: Record<Manager, (folder: string, url: string) => Promise<unknown>> = {
  async npm(folder, url) {
    writeFileSync(join(folder, '.npmrc'), `@platform:registry=${url}\n`)
    await execute('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder })
  },
  async pnpm(folder, url) {
    writeFileSync(join(folder, '.npmrc'), `@platform:registry=${url}\n`)
    writeFileSync(join(folder, 'pnpm-workspace.yaml'), 'minimumReleaseAge: 0\nstrictDepBuilds: false\n')
    await execute('pnpm', ['install', '--prefer-offline'], { cwd: folder })
  },
  async 'yarn classic'(folder, url) {
    writeFileSync(join(folder, '.npmrc'), `@platform:registry=${url}\n`)
    await execute('npx', ['--yes', 'yarn@1.22.22', 'install', '--non-interactive', '--ignore-scripts'], { cwd: folder })
  },
  async 'yarn PnP'(folder, url) {
    const { stdout } = await execute('npm', ['config', 'get', 'registry'])
    const settings = {
      nodeLinker: 'pnp',
      enableTelemetry: false,
      npmPreapprovedPackages: ['@platform/*'],
      enableScripts: false,
      // Yarn keeps what a registry told it, addresses of tarballs included, and each run's registry has another port.
      globalFolder: join(folder, '.yarn-global'),
      npmRegistryServer: stdout.trim(),
      npmScopes: { platform: { npmRegistryServer: url } },
      unsafeHttpWhitelist: ['127.0.0.1', 'localhost', new URL(stdout.trim()).hostname],
    }
    writeFileSync(join(folder, '.yarnrc.yml'), JSON.stringify(settings))
    writeFileSync(join(folder, 'yarn.lock'), '')
    await execute('npx', ['--yes', '-p', '@yarnpkg/cli-dist@4.18.1', 'yarn', 'install'], { cwd: folder })
  },
}
