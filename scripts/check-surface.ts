/**
 * The public types of every entry point as reviewed text, `api/<package>.api.md`, made by api-extractor from what was built: compared, or written
 * with `--write`. A change of an API is seen in the diff of a pull request, or fails.
 */
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Extractor, ExtractorConfig, type ExtractorMessage } from '@microsoft/api-extractor'
import { requirePinnedNode, root } from './pinned-node.ts'
import { publishedManifests, readManifest } from './package-identity.ts'

requirePinnedNode()
const write = process.argv.includes('--write')
const folder = join(root, 'api')
const made = mkdtempSync(join(tmpdir(), 'platform-api-'))

/** `cache`, `cache.redis`, … and the declaration that each stands for. */
const entries = publishedManifests().flatMap((manifest) => {
  const { exports } = readManifest(manifest) as { exports: Record<string, { types?: string }> }
  const folder = dirname(join(root, manifest))
  return Object.entries(exports).flatMap(([path, { types }]) => {
    const name = [basename(folder), ...path.split('/').slice(1)].join('.')
    return types === undefined ? [] : [{ name, folder, file: join(folder, types) }]
  })
})

try {
  for (const entry of entries) report(entry)
  const known = globSync('*.api.md', { cwd: folder })
  const wanted = entries.map(({ name }) => `${name}.api.md`)
  for (const file of wanted) settle(file)
  for (const file of known.filter((each) => !wanted.includes(each))) {
    if (write) rmSync(join(folder, file))
    else fail(`api/${file} stands for an entry point that is no more`)
  }
  console.log(`${entries.length} entry points: ${process.exitCode ? 'their surface has changed' : write ? 'written' : 'as reviewed'}`)
} finally {
  rmSync(made, { recursive: true, force: true })
}

function report({ name, folder: packageFolder, file }: { name: string; folder: string; file: string }): void {
  if (!existsSync(file)) throw new Error(`${file} is missing: run \`pnpm build\` first`)
  const config = ExtractorConfig.prepare({
    configObjectFullPath: undefined,
    packageJsonFullPath: join(packageFolder, 'package.json'),
    configObject: {
      projectFolder: packageFolder,
      mainEntryPointFilePath: file,
      compiler: {
        overrideTsconfig: {
          extends: join(root, 'tsconfig.json'),
          // What users see: the declarations of siblings, not their sources.
          compilerOptions: { customConditions: [], skipLibCheck: true, allowImportingTsExtensions: true },
          files: [file],
          include: [],
        },
        skipLibCheck: true,
      },
      apiReport: { enabled: true, reportFileName: `${name}.api.md`, reportFolder: made, reportTempFolder: join(made, 'temp') },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      newlineKind: 'lf',
    },
  })
  const errors: string[] = []
  Extractor.invoke(config, { localBuild: true, messageCallback: (message) => judge(message, errors) })
  for (const error of errors) fail(`${name}: ${error}`)
}

/** Its warnings are about release tags and comments, which it writes into the report; what it cannot read is an error. */
function judge(message: ExtractorMessage, errors: string[]): void {
  message.handled = true
  if (message.logLevel === 'error' || message.category === 'Compiler') errors.push(message.text)
}

function settle(file: string): void {
  const text = readFileSync(join(made, file), 'utf8')
    .split('\n')
    // Notes about release tags and comments, which are lint's affair or nobody's.
    .filter((line) => !/^\s*\/\/ (?:Warning: \(ae-|@public|\(undocumented\)$)/.test(line))
    .join('\n')
  const reviewed = join(folder, file)
  if (write) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(reviewed, text)
  } else if (!existsSync(reviewed) || readFileSync(reviewed, 'utf8') !== text) {
    fail(`api/${file} is not what the build gives; if that is meant: pnpm build && node scripts/check-surface.ts --write, and a changeset`)
  }
}

function fail(problem: string): void {
  console.error(problem)
  process.exitCode = 1
}
