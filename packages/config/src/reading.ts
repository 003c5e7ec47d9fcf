import { orAborted, pause, withDeadline } from '@platform/kernel'
import { ConfigError, type Fault } from './errors.ts'
import type { SchemaMap } from './fields.ts'
import type { Layer } from './layers.ts'
import { meant } from './names.ts'
import type { Report, Source } from './source.ts'
import { type Inspection, inspectTree, isPlainObject } from './tree.ts'

/** What one source said. */
export interface Reading {
  readonly source: Source
  readonly layer: Layer
  readonly faults: readonly Fault[]
  readonly warnings: readonly Fault[]
  /** Why there is nothing: the source rejected, or gave no answer in time. */
  readonly failure?: { readonly cause: unknown } | undefined
}

/** A mount that is swapped more often than this during one read is not waited for. */
const generationTries = 10

interface ReadingOptions {
  readonly signal: AbortSignal | undefined
  readonly readTimeoutMs: number
}

/** Reads all sources; again, when the files of one were swapped meanwhile, so that all come from one generation. */
export async function readSources(sources: readonly Source[], map: SchemaMap, options: ReadingOptions): Promise<Reading[]> {
  for (let tried = 1; ; tried++) {
    const before = await generationsOf(sources, options)
    const readings = await Promise.all(sources.map((source) => readSource(source, map, options)))
    const after = await generationsOf(sources, options)
    const swapped = sources.filter((_, index) => before[index] !== after[index])
    if (swapped.length === 0) return readings
    if (tried < generationTries) {
      await pause(tried, options.signal)
      continue
    }
    const expected = 'files that are left alone while they are read'
    return readings.map((reading) =>
      swapped.includes(reading.source)
        ? { ...reading, faults: [...reading.faults, { path: '', source: reading.source.name, location: reading.source.name, expected }] }
        : reading,
    )
  }
}

function generationsOf(sources: readonly Source[], { signal, readTimeoutMs }: ReadingOptions): Promise<(string | undefined)[]> {
  const unknown = (): Error => new Error('late')
  return Promise.all(
    sources.map(async (source) => {
      if (source.generation === undefined) return undefined
      return orAborted(
        withDeadline(readTimeoutMs, unknown, async () => source.generation?.()).catch(() => undefined),
        signal,
      )
    }),
  )
}

async function readSource(source: Source, map: SchemaMap, { signal, readTimeoutMs }: ReadingOptions): Promise<Reading> {
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const locations = new Map<string, string>()
  const report: Report = {
    at: (path, location) => locations.set(path.join('.'), location),
    fault: (fault) => faults.push({ ...fault, source: source.name }),
    warn: (fault) => warnings.push({ ...fault, source: source.name }),
  }
  let inspected: Inspection = { leaves: [], rejected: [] }
  let failure: { cause: unknown } | undefined
  try {
    const late = () => new ConfigError('ERR_CONFIG_SOURCE', `no answer within ${readTimeoutMs} ms`)
    const read = async (attempt: AbortSignal) => source.read({ signal: attempt, fields: map.fields, report })
    const given: unknown = await withDeadline(readTimeoutMs, late, read, signal)
    // Its getters are the source's code too.
    if (isPlainObject(given)) inspected = inspectTree(given)
    else report.fault({ path: '', expected: 'a plain object from this source' })
  } catch (cause) {
    signal?.throwIfAborted()
    failure = { cause }
    // The message of a stranger is not repeated: it may quote what was read.
    const hint = ConfigError.isInstance(cause) ? cause.message : 'see the cause of this error'
    report.fault({ path: '', expected: 'a source that can be read', hint })
  }
  const { leaves, rejected } = inspected
  const locationOf = (path: readonly string[]) => {
    if (locations.size === 0) return source.name
    for (let length = path.length; length > 0; length--) {
      const location = locations.get(path.slice(0, length).join('.'))
      if (location !== undefined) return location
    }
    return source.name
  }
  for (const { path, expected } of rejected) report.fault({ path: shown(path), location: locationOf(path), expected })
  let hints = 0
  for (const { path } of leaves) {
    const unknown = unknownKey(path, map)
    if (!unknown) continue
    // Looking for what was meant compares with every name: not for masses.
    const hint = hints++ < maxHints ? meant(unknown.key, unknown.known) : undefined
    report.warn({ path: shown(unknown.path), location: locationOf(path), expected: 'the name of a setting', hint })
  }
  const anywhere = { source: source.name, location: source.name }
  const origin = (path: readonly string[]) => (locations.size === 0 ? anywhere : { source: source.name, location: locationOf(path) })
  return { source, layer: { leaves, origin }, faults, warnings, failure }
}

const maxHints = 20

/** A key that is no name may be a value that stands in the wrong place, half of a secret in the worst case. */
function shown(path: readonly string[]): string {
  return path.map((key) => (/^[\w-]{1,64}$/.test(key) ? key : '(no name)')).join('.')
}

/** The first key on the way that its object does not have. */
function unknownKey(
  path: readonly string[],
  { closed }: SchemaMap,
): { path: readonly string[]; key: string; known: ReadonlySet<string> } | undefined {
  let parent = ''
  for (const [index, key] of path.entries()) {
    const known = closed.get(parent)
    if (known === undefined) return undefined
    if (!known.has(key)) return { path: path.slice(0, index + 1), key, known }
    parent = parent === '' ? key : `${parent}.${key}`
  }
  return undefined
}
