/** Fails when a published package would bring a dependency under a licence that is not on the list of docs/operations/licences.md. */
import { execFileSync } from 'node:child_process'
import { requirePinnedNode, root } from './pinned-node.ts'
import { publishedManifests, readManifest } from './package-identity.ts'

requirePinnedNode()
const allowed = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'CC0-1.0', 'ISC', 'MIT', 'PostgreSQL', 'Unlicense']

const names = publishedManifests().map((file) => String(readManifest(file)['name']))
const filters = names.flatMap((name) => ['--filter', name])
const text = execFileSync('pnpm', [...filters, 'licenses', 'list', '--prod', '--json'], { cwd: root, encoding: 'utf8', maxBuffer: 64e6 })
const byLicence = JSON.parse(text) as Record<string, { name: string }[]>

/** `(MIT OR CC0-1.0)` leaves a choice; `AND` does not. */
const isAllowed = (licence: string) =>
  licence
    .replaceAll(/[()]/g, '')
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((part) => allowed.includes(part.trim())))

for (const [licence, packages] of Object.entries(byLicence)) {
  const note = isAllowed(licence) ? '' : '   NOT ON THE LIST'
  console.log(`${licence.padEnd(20)} ${String(packages.length).padStart(3)}${note}`)
  if (note === '') continue
  for (const { name } of packages) console.error(`  ${name}`)
  process.exitCode = 1
}
