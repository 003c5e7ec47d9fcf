/** Every metric of the packages, typed: name, kind and unit from the code that makes it, labels from the page that describes it. */
import { globSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { familyName, labelName } from '../../packages/telemetry/src/metric-names.ts'
import { root } from '../pinned-node.ts'
import { type Instrument, instrumentsOf } from './instruments.ts'
import { type Described, describedBy } from './pages.ts'

const folder = 'packages/metrics/src'

export interface GeneratedFile {
  readonly file: string
  readonly text: string
}

/** Units that are part of a metric's name; the others say what is counted. */
const shownUnit = (unit: string) => (unit.startsWith('{') ? '' : unit)

function faultsOf(owner: string, made: readonly Instrument[], described: readonly Described[]): string[] {
  const page = `packages/${owner}/README.md`
  const row = ({ name, kind, unit }: Instrument) => `| \`${name}\` | ${[kind, shownUnit(unit)].filter(Boolean).join(', ')} | … |`
  return [
    ...made
      .filter(({ name }) => !described.some((each) => each.name === name))
      .map((each) => `${page} has no row for a metric that the code makes: ${row(each)}`),
    ...described.filter(({ name }) => !made.some((each) => each.name === name)).map(({ name }) => `${page}: no code makes ${name}`),
    ...made
      .filter((each) =>
        described.some(({ name, kind }) => name === each.name && kind !== [each.kind, shownUnit(each.unit)].filter(Boolean).join(', ')),
      )
      .map((each) => `${page} and the code disagree: ${row(each)} is what the code makes`),
  ]
}

const origin = 'Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand.'

/** What a metric is about, by which the modules are told apart: `http`, `db`, `platform-cache`. */
const topicOf = (name: string) =>
  name
    .split('.')
    .slice(0, name.startsWith('platform.') ? 2 : 1)
    .join('-')
    .replaceAll('_', '-')
const constantName = (topic: string) => topic.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase())

/** A module for each topic and one for all of them; throws with everything on which code and pages, or two packages, disagree. */
export function metricRegistry(): GeneratedFile[] {
  const owners = globSync('packages/*/src/instrumentation.ts', { cwd: root })
    .map((file) => basename(dirname(dirname(file))))
    .toSorted()
  const faults: string[] = []
  const metrics = new Map<string, Entry>()
  for (const owner of owners) {
    const described = describedBy(owner)
    const made = instrumentsOf(owner)
    faults.push(...faultsOf(owner, made, described))
    for (const each of made) {
      const entry = entryOf(each, described.find(({ name }) => name === each.name)?.labels ?? [])
      const known = metrics.get(each.name)
      if (known && (known.kind !== entry.kind || known.unit !== entry.unit))
        faults.push(`${each.name} is a ${known.kind} of ${known.owners.join(' and ')}, and a ${entry.kind} of ${owner}`)
      metrics.set(each.name, known ? together(known, entry) : entry)
    }
  }
  if (faults.length > 0) throw new Error(faults.join('\n'))
  const topics = Map.groupBy(
    [...metrics].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ([name]) => topicOf(name),
  )
  const files = [...topics].map(([topic, entries]) => ({
    file: `${folder}/registry/${topic}.ts`,
    text: `/** ${origin} */\nexport const ${constantName(topic)} = ${JSON.stringify(Object.fromEntries(entries))} as const\n`,
  }))
  const names = [...topics.keys()]
  const all = [
    ...names.map((topic) => `import { ${constantName(topic)} } from './registry/${topic}.ts'`),
    '',
    `/** Every metric of the packages. ${origin} */`,
    `export const registry: ${names.map((topic) => `typeof ${constantName(topic)}`).join(' & ')} = {`,
    `${names.map((topic) => `...${constantName(topic)}`).join(', ')} }`,
    '',
  ].join('\n')
  return [...files, { file: `${folder}/registry.ts`, text: all }]
}

interface Entry {
  readonly kind: string
  readonly unit: string
  readonly description: string
  /** The packages that make it, each in processes of its own kind: together they have these labels. */
  readonly owners: readonly string[]
  readonly prometheus: string
  readonly labels: Readonly<Record<string, string>>
}

function together(one: Entry, other: Entry): Entry {
  return {
    ...one,
    description: one.description || other.description,
    owners: [...one.owners, ...other.owners],
    labels: { ...one.labels, ...other.labels },
  }
}

function entryOf({ name, kind, unit, description, owner }: Instrument, labels: readonly string[]): Entry {
  const family = kind === 'up-down counter' ? 'gauge' : kind
  // Without the endings that a kind adds: `_total`, `_bucket`, `_sum`, `_count`.
  const prometheus = familyName(name, unit, family)
  const named = Object.fromEntries(labels.map((label) => [label, labelName(label, kind === 'histogram')]))
  return { kind, unit, description, owners: [owner], prometheus, labels: named }
}
