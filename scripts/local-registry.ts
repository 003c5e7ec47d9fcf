import { execFile } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { runServer } from 'verdaccio'
import { bin, root } from './pinned-node.ts'

const execute = promisify(execFile)

export interface PublishedPackage {
  readonly name: string
  readonly version: string
  /** The package's folder in the workspace. */
  readonly folder: string
  readonly tarball: string
  /** As it travels: catalogs and workspace ranges written out. */
  readonly manifest: PublishedManifest
}

export interface PublishedManifest {
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string }>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

export interface LocalRegistry extends AsyncDisposable {
  readonly url: string
  readonly packages: readonly PublishedPackage[]
}

/**
 * Builds, versions and publishes every public package to a Verdaccio of its own, from a copy of the repository: the working tree stays as
 * it is, and nothing travels that an earlier build left in it. Only loopback reaches the registry, since anyone may publish to it.
 */
export async function publishLocally(options: { port?: number; onProgress?(line: string): void } = {}): Promise<LocalRegistry> {
  const { port = 0, onProgress = () => {} } = options
  await using opened = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'platform-release-'))
  opened.defer(() => rmSync(folder, { recursive: true, force: true }))

  const { url, close } = await startVerdaccio(join(folder, 'registry'), port)
  opened.defer(close)
  onProgress(`Verdaccio listens on ${url}`)

  const copy = join(folder, 'repository')
  await copyRepository(copy)
  const environment = releaseEnvironment(folder, url)
  await execute('pnpm', ['install', '--offline', '--frozen-lockfile', '--ignore-scripts'], { cwd: copy, env: environment })
  await buildPackages(copy, environment)
  await execute(bin('changeset'), ['version'], { cwd: copy, env: environment })
  onProgress('versions are drawn from the changesets')

  const packages: PublishedPackage[] = []
  for (const file of globSync('packages/*/package.json', { cwd: copy }).toSorted()) {
    const manifest = JSON.parse(readFileSync(join(copy, file), 'utf8')) as { name: string; version: string; private?: boolean }
    if (manifest.private) continue
    const cwd = join(copy, dirname(file))
    const { stdout } = await execute('pnpm', ['pack', '--json', '--pack-destination', folder], { cwd, env: environment })
    const { filename } = JSON.parse(stdout) as { filename: string }
    await execute('pnpm', ['publish', filename, '--no-git-checks', '--registry', url], { cwd, env: environment })
    const packed = await execute('tar', ['-xzOf', filename, 'package/package.json'])
    packages.push({
      name: manifest.name,
      version: manifest.version,
      folder: dirname(file),
      tarball: filename,
      manifest: JSON.parse(packed.stdout) as PublishedManifest,
    })
    onProgress(`published ${manifest.name} ${manifest.version}`)
  }
  const owned = opened.move()
  return { url, packages, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** What git tracks or would track, as a repository of its own: changesets asks git. */
export async function copyRepository(target: string): Promise<void> {
  const { stdout } = await execute('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root, maxBuffer: 64e6 })
  for (const file of stdout.split('\0').filter((name) => name && existsSync(join(root, name)))) {
    mkdirSync(dirname(join(target, file)), { recursive: true })
    cpSync(join(root, file), join(target, file))
  }
  const git = (...args: string[]) =>
    execute('git', ['-c', 'user.name=release', '-c', 'user.email=release@localhost', ...args], { cwd: target })
  await git('init', '--quiet', '--initial-branch', 'main')
  await git('add', '--all')
  await git('commit', '--quiet', '--no-verify', '--message', 'Copy for a local release')
}

/** Takes what this repository has built of the same sources from turbo's cache. */
async function buildPackages(copy: string, env: NodeJS.ProcessEnv): Promise<void> {
  const { stdout } = await execute('git', ['rev-parse', '--path-format=absolute', '--git-common-dir'], { cwd: root })
  const cache = join(dirname(stdout.trim()), '.turbo/cache')
  await execute(bin('turbo'), ['run', 'build', '--filter=./packages/*', '--cache-dir', cache], {
    cwd: copy,
    env: { ...env, TURBO_TELEMETRY_DISABLED: '1' },
    maxBuffer: 64e6,
  })
}

/** A token that Verdaccio does not look at, kept outside of the repository. */
function releaseEnvironment(folder: string, url: string): NodeJS.ProcessEnv {
  const npmrc = join(folder, 'npmrc')
  writeFileSync(npmrc, `//${new URL(url).host}/:_authToken=anyone\n`)
  return { ...process.env, NPM_CONFIG_USERCONFIG: npmrc, npm_config_userconfig: npmrc }
}

async function startVerdaccio(storage: string, port: number): Promise<{ url: string; close(): Promise<void> }> {
  const config = {
    storage,
    self_path: storage,
    packages: { '@platform/*': { access: ['$all'], publish: ['$all'], unpublish: ['$all'] } },
    auth: {},
    uplinks: {},
    log: { type: 'stdout', format: 'pretty', level: 'fatal' },
  }
  const server = (await runServer(config as never)) as Server
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const { port: taken } = server.address() as AddressInfo
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return { url: `http://127.0.0.1:${taken}/`, close }
}
