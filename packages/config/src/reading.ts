import { ConfigError, type Fault } from './errors.ts'
import type { SchemaMap } from './fields.ts'
import type { Layer } from './layers.ts'
import { meant } from './names.ts'
import type { Report, Source, Tree } from './source.ts'
import { within } from './timing.ts'
import { inspectTree, isPlainObject } from './tree.ts'

/** What one source said. */
export interface Reading {
  readonly source: Source
  readonly layer: Layer
  readonly faults: readonly Fault[]
  readonly warnings: readonly Fault[]
  /** Why there is nothing: the source rejected, or gave no answer in time. */
  readonly failure?: { readonly cause: unknown } | undefined
}

export function readSources(
  sources: readonly Source[],
  map: SchemaMap,
  options: { signal: AbortSignal | undefined; readTimeoutMs: number },
): Promise<Reading[]> {
  return Promise.all(sources.map((source) => readSource(source, map, options)))
}

async function readSource(
  source: Source,
  map: SchemaMap,
  { signal, readTimeoutMs }: { signal: AbortSignal | undefined; readTimeoutMs: number },
): Promise<Reading> {
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const locations = new Map<string, string>()
  const report: Report = {
    at: (path, location) => locations.set(path.join('.'), location),
    fault: (fault) => faults.push({ ...fault, source: source.name }),
    warn: (fault) => warnings.push({ ...fault, source: source.name }),
  }
  let tree: Tree = {}
  let failure: { cause: unknown } | undefined
  try {
    const late = () => new ConfigError('ERR_CONFIG_SOURCE', `no answer within ${readTimeoutMs} ms`)
    const given: unknown = await within(readTimeoutMs, signal, late, (attempt) =>
      source.read({ signal: attempt, fields: map.fields, report }),
    )
    if (isPlainObject(given)) tree = given
    else report.fault({ path: '', expected: 'a plain object from this source' })
  } catch (cause) {
    signal?.throwIfAborted()
    failure = { cause }
    // The message of a stranger is not repeated: it may quote what was read.
    const hint = ConfigError.isInstance(cause) ? cause.message : 'see the cause of this error'
    report.fault({ path: '', expected: 'a source that can be read', hint })
  }
  const { leaves, rejected } = inspectTree(tree)
  const locationOf = (path: readonly string[]) => {
    if (locations.size === 0) return source.name
    for (let length = path.length; length > 0; length--) {
      const location = locations.get(path.slice(0, length).join('.'))
      if (location !== undefined) return location
    }
    return source.name
  }
  for (const { path, expected } of rejected) report.fault({ path: path.join('.'), location: locationOf(path), expected })
  for (const { path } of leaves) {
    const unknown = unknownKey(path, map)
    if (unknown) report.warn({ path: unknown.path, location: locationOf(path), expected: 'the name of a setting', hint: unknown.hint })
  }
  const anywhere = { source: source.name, location: source.name }
  const origin = (path: readonly string[]) => (locations.size === 0 ? anywhere : { source: source.name, location: locationOf(path) })
  return { source, layer: { leaves, origin }, faults, warnings, failure }
}

/** The first key on the way that its object does not have. */
function unknownKey(path: readonly string[], { closed }: SchemaMap): { path: string; hint: string | undefined } | undefined {
  let parent = ''
  for (const key of path) {
    const known = closed.get(parent)
    if (known === undefined) return undefined
    parent = parent === '' ? key : `${parent}.${key}`
    if (!known.has(key)) return { path: parent, hint: meant(key, known) }
  }
  return undefined
}
