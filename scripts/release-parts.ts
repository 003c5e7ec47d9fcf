/**
 * Writes what each published package is made of (CycloneDX) to `sbom/`. `--attach JSON` adds the files to the releases of GitHub that changesets
 * has made; JSON is its list of `{ name, version }`.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { requirePinnedNode, root } from './pinned-node.ts'
import { publishedManifests, readManifest } from './package-identity.ts'

requirePinnedNode()
const { values } = parseArgs({ options: { attach: { type: 'string' } } })
const released = values.attach === undefined ? undefined : (JSON.parse(values.attach) as { name: string; version: string }[])

mkdirSync(join(root, 'sbom'), { recursive: true })
for (const file of publishedManifests()) {
  const { name, version } = readManifest(file) as { name: string; version: string }
  const list = join('sbom', `${name.replace('@', '').replace('/', '-')}-${version}.cdx.json`)
  execFileSync('pnpm', ['--filter', name, 'sbom', '--sbom-format', 'cyclonedx', '--prod', '--out', list], { cwd: root, stdio: 'ignore' })
  console.log(list)
  if (released?.some((each) => each.name === name && each.version === version)) {
    execFileSync('gh', ['release', 'upload', `${name}@${version}`, list, '--clobber'], { cwd: root, stdio: 'inherit' })
  }
}
