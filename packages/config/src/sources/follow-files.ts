import { readdirSync, realpathSync, statSync, watch, type FSWatcher } from 'node:fs'
import { dirname, join } from 'node:path'
import { backgroundInterval, backgroundTimeout } from '@platform/kernel'
import { optionError } from '../errors.ts'

export interface FollowOptions {
  /** How long a file must be left alone before it is read, ms. Default 100; while it is written without end it is read after ten times this. */
  debounceMs?: number | undefined
  /** How often files are looked at in any case, ms: some file systems report nothing. Default 1000. */
  pollMs?: number | undefined
}

/**
 * Says when one of the files (or a directory's files) is another one than before, by size, time, inode and where symbolic links lead.
 * The directory is watched, not the file: a watch on a file is lost when another one takes its name, as editors and Kubernetes do.
 */
export function followFiles(paths: () => readonly string[], changed: () => void, options: FollowOptions = {}): () => void {
  const { debounceMs = 100, pollMs = 1_000 } = options
  const watchers = new Map<string, { watcher: FSWatcher; inode: bigint }>()
  let known = signature(paths())
  let debounce: NodeJS.Timeout | undefined
  let firstEventAt: number | undefined

  const look = (): void => {
    clearTimeout(debounce)
    debounce = firstEventAt = undefined
    watchDirectories()
    const now = signature(paths())
    if (now === known) return
    known = now
    changed()
  }
  const onEvent = (): void => {
    firstEventAt ??= performance.now()
    clearTimeout(debounce)
    const left = firstEventAt + debounceMs * 10 - performance.now()
    debounce = backgroundTimeout(look, Math.max(0, Math.min(debounceMs, left)))
  }
  const watchDirectories = (): void => {
    const wanted = new Set(paths().map(watchedDirectory))
    for (const [directory, { watcher, inode }] of watchers)
      if (!wanted.has(directory) || inodeOf(directory) !== inode) {
        watcher.close()
        watchers.delete(directory)
      }
    for (const directory of wanted) {
      if (watchers.has(directory)) continue
      try {
        // Without a watch (no such directory yet, none left to have) looking from time to time is enough.
        const watcher = watch(directory, { persistent: false }, onEvent).on('error', () => watchers.delete(directory))
        watchers.set(directory, { watcher, inode: inodeOf(directory) })
      } catch {}
    }
  }
  watchDirectories()
  // Not while events arrive: half of a file would be read.
  const poll = backgroundInterval(() => debounce === undefined && look(), pollMs)
  return () => {
    clearInterval(poll)
    clearTimeout(debounce)
    for (const { watcher } of watchers.values()) watcher.close()
    watchers.clear()
  }
}

export function assertFollowOptions({ debounceMs = 100, pollMs = 1_000 }: FollowOptions): void {
  for (const [name, value] of Object.entries({ debounceMs, pollMs }))
    if (!Number.isSafeInteger(value) || value < 1 || value > 3_600_000) throw optionError(name, 'whole milliseconds from 1 to 3600000')
}

function watchedDirectory(path: string): string {
  try {
    return statSync(path).isDirectory() ? path : dirname(path)
  } catch {
    return dirname(path)
  }
}

function inodeOf(path: string): bigint {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? -1n
}

function signature(paths: readonly string[]): string {
  return paths.map((path) => JSON.stringify(signatureOf(path, 1))).join('\n')
}

function signatureOf(path: string, depth: number): unknown {
  try {
    const stat = statSync(path, { bigint: true })
    if (stat.isDirectory() && depth > 0)
      return readdirSync(path)
        .toSorted()
        .map((name) => [name, signatureOf(join(path, name), depth - 1)])
    return [realpathSync(path), String(stat.ino), String(stat.size), String(stat.mtimeNs), String(stat.ctimeNs)]
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}
