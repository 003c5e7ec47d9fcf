/** Files that a table or the schemas of the services give: compared byte by byte, or written with `--write`. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lintRules, lintRulesFile } from './lint-rules.ts'
import { bin, root } from './pinned-node.ts'

const services = ['catalog-api', 'orders-api', 'fulfilment-worker']
const generated = { template: '.env.example', docs: 'SETTINGS.md' }
const option = process.argv.includes('--write') ? '--output' : '--compare'

for (const service of services) {
  for (const [command, file] of Object.entries(generated)) {
    const folder = join(root, 'examples', service)
    const cli = join(root, 'packages/config/src/cli.ts')
    const args = ['--conditions=@platform/source', cli, command, join(folder, 'src/config.ts'), option, join(folder, file)]
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    if (status === 0) continue
    console.error(`${stderr.trim()}\nwrite them with: node scripts/check-generated.ts --write`)
    process.exitCode = 1
  }
}

/** As biome lays it out. */
const formatted = spawnSync(bin('biome'), ['format', '--stdin-file-path', lintRulesFile], {
  cwd: root,
  input: lintRules,
  encoding: 'utf8',
}).stdout
if (process.argv.includes('--write')) writeFileSync(lintRulesFile, formatted)
else if (readFileSync(lintRulesFile, 'utf8') !== formatted) {
  console.error('.oxlintrc.json is not what scripts/lint-rules.ts gives\nwrite it with: node scripts/check-generated.ts --write')
  process.exitCode = 1
}
