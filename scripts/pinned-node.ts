import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export const root: string = resolve(import.meta.dirname, '..')

/** A failed install only makes pnpm warn: stop here with a clear message instead of failing strangely later. */
export function requirePinnedNode(): void {
  const settings = readFileSync(join(root, 'pnpm-workspace.yaml'), 'utf8')
  const pinned = /^nodeVersion: (\S+)/m.exec(settings)?.[1]
  if (process.versions.node === pinned) return
  console.error(`This is Node ${process.versions.node}, but the scripts run on the pinned ${pinned}.`)
  console.error('The install before this script probably failed. Run `npx --yes pnpm@12 install` and read its first error.')
  process.exit(1)
}

/** A program that an installed package brings. */
export function bin(name: string): string {
  return join(root, 'node_modules', '.bin', name)
}
