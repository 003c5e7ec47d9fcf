import { extname, join, relative, sep } from 'node:path'
import { watch } from 'chokidar'
import type { Source } from './dependents.ts'

/** What was saved together. */
export interface Change {
  /** Paths, each inside its package: `health/src/health.ts`. */
  readonly files: readonly string[]
  readonly services: ReadonlySet<string>
  /** Those of the services whose migrations are among the files. */
  readonly migrations: ReadonlySet<string>
}

const debounceMs = 50
const readAtRunTime = ['src', 'migrations']
const code = ['.ts', '.json', '.sql']

/**
 * Tells what was saved, in place, by a rename or by a checkout of many files, once nothing more has come for 50 ms. Tests, what editors
 * put beside a file, and all that a service does not read are left out. Resolves when it watches; the function returned ends it.
 */
export async function watchSources(sources: readonly Source[], onChange: (change: Change) => void): Promise<() => Promise<void>> {
  const sourceOf = (path: string) => sources.find(({ folder }) => path === folder || path.startsWith(folder + sep))
  const watcher = watch(
    sources.map(({ folder }) => folder),
    {
      ignoreInitial: true,
      ignored(path, stats) {
        const source = sourceOf(path)
        return source !== undefined && !concerns(relative(source.folder, path), stats?.isFile() ?? false)
      },
    },
  )
  const saved = new Map<string, Source>()
  let settled: NodeJS.Timeout | undefined
  const tell = () => {
    const changed = [...saved]
    saved.clear()
    onChange({
      files: changed.map(([path, { folder }]) => join(relative(join(folder, '..'), path))),
      services: new Set(changed.flatMap(([, { services }]) => [...services])),
      migrations: new Set(changed.flatMap(([path, { folder, services }]) => (isMigration(relative(folder, path)) ? [...services] : []))),
    })
  }
  watcher.on('all', (event, path) => {
    const source = sourceOf(path)
    if (!source || event === 'addDir' || event === 'unlinkDir') return
    saved.set(path, source)
    clearTimeout(settled)
    settled = setTimeout(tell, debounceMs)
  })
  await new Promise<void>((ready, failed) => watcher.once('ready', ready).once('error', failed))
  return async () => {
    clearTimeout(settled)
    await watcher.close()
  }
}

const isMigration = (path: string) => path.startsWith(`migrations${sep}`)

/** `path` is inside a package. Before a file is looked at it may be a folder, which is kept. */
function concerns(path: string, isFile: boolean): boolean {
  if (path === '' || path === '.env' || path === 'package.json') return true
  const [first = '', ...rest] = path.split(sep)
  if (!readAtRunTime.includes(first)) return false
  const name = rest.at(-1) ?? ''
  if (name.startsWith('.')) return false
  return !isFile || (code.includes(extname(name)) && !/\.(test|test-d|fixture)\.ts$/.test(name))
}
