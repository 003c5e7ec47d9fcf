import { readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'

/** A package whose source services run from. */
export interface Source {
  readonly name: string
  readonly folder: string
  /** The services that use it, the package itself among them when it is one. */
  readonly services: ReadonlySet<string>
}

interface Manifest {
  readonly name: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

/** A development dependency by its manifest that is part of what it is bundled into. */
const bundled = '@platform/kernel'

/** Every workspace package that one of the services runs from, by what the manifests say; `services` are folders by name. */
export function sourcesOf(services: ReadonlyMap<string, string>): Source[] {
  const found = new Map<string, { name: string; folder: string; services: Set<string> }>()
  const visit = (folder: string, service: string) => {
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
    const source = found.get(folder) ?? { name: manifest.name, folder, services: new Set() }
    if (source.services.has(service)) return
    found.set(folder, source)
    source.services.add(service)
    const { dependencies = {}, devDependencies = {} } = manifest
    const used = { ...dependencies, ...(devDependencies[bundled] && { [bundled]: devDependencies[bundled] }) }
    for (const [name, version] of Object.entries(used)) {
      if (version.startsWith('workspace:')) visit(realpathSync(join(folder, 'node_modules', name)), service)
    }
  }
  for (const [service, folder] of services) visit(realpathSync(folder), service)
  return [...found.values()]
}
