/** Where the packages live: one field that the owner fills in, `repository` of the root manifest, and what each published manifest takes from it. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from './pinned-node.ts'

type Manifest = Record<string, unknown> & { private?: boolean }

export function readManifest(file: string): Manifest {
  return JSON.parse(readFileSync(join(root, file), 'utf8')) as Manifest
}

/** `https://host/owner/name` without an ending, or undefined while nobody has filled it in. */
export function repositoryUrl(repository: unknown = readManifest('package.json')['repository']): string | undefined {
  if (typeof repository !== 'string' || repository === '') return undefined
  if (!/^https:\/\/[\w.-]+(\/[\w.-]+){2,}$/.test(repository) || repository.endsWith('.git')) {
    throw new Error(`repository in package.json must look like https://github.com/owner/name, it is ${JSON.stringify(repository)}`)
  }
  return repository
}

/** Manifests of what is published, relative to the root. */
export function publishedManifests(): string[] {
  return globSync('packages/*/package.json', { cwd: root })
    .filter((file) => readManifest(file).private !== true)
    .toSorted()
}

/** The manifest with `repository`, `bugs` and `homepage`, behind `license`; without them while no repository is known. */
export function withIdentity(manifest: Manifest, file: string, url: string | undefined): Manifest {
  const { repository: _repository, bugs: _bugs, homepage: _homepage, ...rest } = manifest
  if (url === undefined) return rest
  const directory = dirname(file)
  const identity = {
    repository: { type: 'git', url: `git+${url}.git`, directory },
    bugs: { url: `${url}/issues` },
    homepage: `${url}/tree/main/${directory}#readme`,
  }
  const entries = Object.entries(rest)
  const at = entries.findIndex(([key]) => key === 'license') + 1
  return Object.fromEntries([...entries.slice(0, at), ...Object.entries(identity), ...entries.slice(at)])
}
