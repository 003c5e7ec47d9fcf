/** Every metric of the packages, in one typed module: name, kind and unit from the code that makes it, labels from the page that describes it. */
import { globSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { familyName, labelName } from '../../packages/telemetry/src/metric-names.ts'
import { root } from '../pinned-node.ts'
import { type Instrument, instrumentsOf } from './instruments.ts'
import { type Described, describedBy } from './pages.ts'

export const registryFile = 'packages/metrics/src/registry.ts'

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

/** The module's text; throws with everything on which code and pages disagree. */
export function metricRegistry(): string {
  const owners = globSync('packages/*/src/instrumentation.ts', { cwd: root })
    .map((file) => basename(dirname(dirname(file))))
    .toSorted()
  const faults: string[] = []
  const entries = owners.flatMap((owner) => {
    const described = describedBy(owner)
    const made = instrumentsOf(owner)
    faults.push(...faultsOf(owner, made, described))
    return made.map((each) => entryOf(each, described.find(({ name }) => name === each.name)?.labels ?? []))
  })
  if (faults.length > 0) throw new Error(faults.join('\n'))
  const sorted = Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
  return [
    '/** Every metric of the packages. Written by `node scripts/check-generated.ts --write` from their code and pages; not by hand. */',
    `export const registry = ${JSON.stringify(sorted)} as const`,
    '',
  ].join('\n')
}

function entryOf({ name, kind, unit, description, owner }: Instrument, labels: readonly string[]) {
  const family = kind === 'up-down counter' ? 'gauge' : kind
  // Without the endings that a kind adds: `_total`, `_bucket`, `_sum`, `_count`.
  const prometheus = familyName(name, unit, family)
  const named = Object.fromEntries(labels.map((label) => [label, labelName(label, kind === 'histogram')]))
  return [name, { kind, unit, description, owner, prometheus, labels: named }] as const
}
