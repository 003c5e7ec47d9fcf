/** Files that a table or the schemas of the services give: compared byte by byte, or written with `--write`. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { routesAt } from '../examples/gateway/src/routes.ts'
import { operationsFiles } from '../examples/operations/src/index.ts'
import { lintRules, lintRulesFile } from './lint-rules.ts'
import { metricRegistry } from './metrics/registry.ts'
import { publishedManifests, readManifest, repositoryUrl, withIdentity } from './package-identity.ts'
import { bin, root } from './pinned-node.ts'

const services = ['catalog-api', 'orders-api', 'fulfilment-worker']
const generated = { template: '.env.example', docs: 'SETTINGS.md' }
const write = process.argv.includes('--write')
const option = write ? '--output' : '--compare'

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

/** Nothing is written from what has failed. */
function outputOf(command: string, args: readonly string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, input, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')} failed:\n${stderr}`)
  return stdout
}

/** As biome lays it out. */
function compare(file: string, text: string, from: string): void {
  compareExactly(file, outputOf(bin('biome'), ['format', '--stdin-file-path', join(root, file)], text), from)
}

function compareExactly(file: string, text: string, from: string): void {
  const path = join(root, file)
  if (write) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  } else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    console.error(`${file} is not what ${from} gives\nwrite it with: node scripts/check-generated.ts --write`)
    process.exitCode = 1
  }
}

compare(lintRulesFile, lintRules, 'scripts/lint-rules.ts')
for (const { file, text } of metricRegistry()) compare(file, text, 'the code and the pages of the packages')
for (const { name, text } of operationsFiles()) {
  const how = name.endsWith('.json') ? compare : compareExactly
  how(`docker/${name}`, text, 'examples/operations')
}
const inContainers = routesAt({ address: '0.0.0.0', port: 8080, keysUrl: 'http://identity-api:3000/keys' })
compareExactly('docker/gateway/gateway.yaml', inContainers, 'examples/gateway/gateway.yaml')
const byTls = routesAt({
  address: '0.0.0.0',
  port: 8080,
  keysUrl: 'https://identity-api:3000/keys',
  tls: { certificate: '/certificates/certificate.pem', authority: '/trusted/ca.pem' },
})
compareExactly('docker/gateway/gateway.tls.yaml', byTls, 'examples/gateway/gateway.yaml')
const benchmarks = outputOf(process.execPath, ['--conditions=@platform/source', join(root, 'bench/page.ts')])
compareExactly('docs/benchmarks.md', benchmarks, 'bench/results')
for (const file of publishedManifests()) {
  const text = readFileSync(join(root, file), 'utf8')
  const manifest = `${JSON.stringify(withIdentity(readManifest(file), file, repositoryUrl()), null, 2)}\n`
  if (text !== manifest) compare(file, manifest, 'the field "repository" of the root manifest')
}
