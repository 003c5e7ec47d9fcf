import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { same } from '../compare.ts'
import { ConfigError } from '../errors.ts'
import { evaluate } from '../evaluate.ts'
import { type Field, mapSchema } from '../fields.ts'
import { mergeLayers } from '../layers.ts'
import { readSources } from '../reading.ts'
import type { Source, Tree } from '../source.ts'
import { dotenv } from '../sources/dotenv.ts'
import { file } from '../sources/file.ts'
import { isPlainObject, valueAt } from '../tree.ts'
import type { SettingsModule } from './module.ts'

export interface Allowed {
  readonly path: string
  readonly reason: string
  /** The last day that it is allowed, `2026-12-31`. */
  readonly until: string
}

export interface Environment {
  readonly name: string
  readonly tree: Tree
  /** Settings that are wrong in it. */
  readonly wrong: ReadonlyMap<string, string>
}

/** By name, when the module has sources for it; or a file. */
export async function readEnvironment(module: SettingsModule, name: string): Promise<Environment> {
  // A folder of that name (deploy manifests) is none of our business, nor is a file (a script) while the module knows environments.
  const isFile = statSync(name, { throwIfNoEntry: false })?.isFile() === true
  const isMeantAsFile = looksLikeSettings(name) || (isFile && module.sources === undefined)
  if (isMeantAsFile && !isFile) throw new Error(`${name} is no file`)
  const sources = isMeantAsFile ? [sourceOf(name, module.prefix)] : module.sources?.({ environment: name })
  if (sources === undefined) throw new Error(`${name} is no file, and the module exports no "sources({ environment })"`)
  const zod = module.settings.schema
  const map = mapSchema(zod)
  const readings = await readSources(sources, map, { signal: undefined, readTimeoutMs: 30_000 })
  const wrong = new Map<string, string>()
  try {
    await evaluate({ zod, map, sources, rulesTimeoutMs: 30_000 }, readings)
  } catch (error) {
    if (!ConfigError.isInstance(error)) throw error
    // What is missing is missing in one or in both: the comparison says so.
    for (const fault of error.faults) if (fault.location !== undefined) wrong.set(fault.path, fault.expected)
  }
  return { name, tree: mergeLayers(readings.map(({ layer }) => layer)).tree, wrong }
}

/** `deploy/prod.yaml`, `.env`, `.env.prod`, `prod.env`: no environment is called that. */
function looksLikeSettings(name: string): boolean {
  return /\.(ya?ml|json|toml)$|(^|\.)env(\.|$)/.test(basename(name)) || name.includes('/')
}

function sourceOf(path: string, prefix: string | undefined): Source {
  return /\.(ya?ml|json|toml)$/.test(basename(path)) ? file(path) : dotenv(path, prefix === undefined ? {} : { prefix })
}

/** What differs between two environments by presence and class. No value is shown. */
export function compareEnvironments(
  fields: readonly Field[],
  one: Environment,
  other: Environment,
  { allowed, today }: { allowed: readonly Allowed[]; today: Date },
): { findings: string[]; notes: string[] } {
  const differences = new Map<string, string>()
  const known = new Set(fields.map((field) => field.path.join('.')))
  for (const field of fields) {
    const [left, right] = [valueAt(one.tree, field.path), valueAt(other.tree, field.path)]
    const difference = differenceOf(field, left, right, [one.name, other.name])
    if (difference !== undefined) differences.set(field.path.join('.'), difference)
  }
  for (const path of new Set([...leavesOf(one.tree), ...leavesOf(other.tree)])) {
    if ([...known].some((name) => path === name || path.startsWith(`${name}.`))) continue
    differences.set(path, 'no setting has this name')
  }
  for (const { name, wrong } of [one, other])
    for (const [path, expected] of wrong) differences.set(path, `in ${name} it is not ${expected}`)

  const findings: string[] = []
  const notes: string[] = []
  const day = today.toISOString().slice(0, 10)
  for (const [path, difference] of differences) {
    const exception = allowed.find((entry) => entry.path === path)
    if (exception === undefined) findings.push(`${path}: ${difference}`)
    else if (exception.until < day) findings.push(`${path}: ${difference}; it was allowed until ${exception.until} (${exception.reason})`)
    else notes.push(`${path}: ${difference}; allowed until ${exception.until} (${exception.reason})`)
  }
  for (const { path } of allowed) if (!differences.has(path)) notes.push(`${path}: is allowed to differ but does not`)
  return { findings, notes }
}

function differenceOf(field: Field, left: unknown, right: unknown, [one, other]: readonly [string, string]): string | undefined {
  if (left === undefined && right === undefined) return field.required ? 'is required and set in neither' : undefined
  if (left === undefined) return `set in ${other} only`
  if (right === undefined) return `set in ${one} only`
  const [a, b] = [classOf(left), classOf(right)]
  if (a !== b) return `${a} in ${one}, ${b} in ${other}`
  return field.secret && same(left, right) ? 'the same secret in both' : undefined
}

function classOf(value: unknown): string {
  if (value === null) return 'null'
  if (value === '') return 'an empty text'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  return typeof value === 'object' ? 'an object' : `a ${typeof value === 'string' ? 'text' : typeof value}`
}

function leavesOf(tree: Tree, around: readonly string[] = []): string[] {
  return Object.entries(tree).flatMap(([key, value]) =>
    isPlainObject(value) && Object.keys(value).length > 0 ? leavesOf(value, [...around, key]) : [[...around, key].join('.')],
  )
}

export async function readAllowList(path: string): Promise<Allowed[]> {
  const faults: string[] = []
  const tree = await file(path).read({
    fields: [],
    report: { at: () => {}, fault: ({ expected }) => void faults.push(expected), warn: () => {} },
  })
  const entries = tree['allow']
  const isEntry = (entry: unknown): entry is Allowed =>
    isPlainObject(entry) &&
    typeof entry['path'] === 'string' &&
    typeof entry['reason'] === 'string' &&
    entry['reason'] !== '' &&
    typeof entry['until'] === 'string' &&
    /^\d{4}-\d\d-\d\d$/.test(entry['until'])
  if (faults.length === 0 && Array.isArray(entries) && entries.every(isEntry)) return entries
  throw new Error(
    `${path} must hold "allow": a list of { path, reason, until: "2026-12-31" }${faults.length > 0 ? `; expected ${faults.join(', ')}` : ''}`,
  )
}
