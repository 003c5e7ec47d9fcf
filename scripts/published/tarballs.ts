import { globSync, mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { LocalRegistry, PublishedManifest, PublishedPackage } from '../local-registry.ts'
import { bin, root } from '../pinned-node.ts'
import { type Check, execute, two } from './checks.ts'

/** What is in the tarballs: what publint and attw look at, and what they do not. */
export async function checkTarballs({ packages }: LocalRegistry, check: Check): Promise<void> {
  await two(packages, async (published) => {
    const { name, tarball } = published
    await check(`publint ${name}`, () => execute(bin('publint'), ['run', tarball, '--strict']))
    await check(`attw ${name}`, () => execute(bin('attw'), [tarball, '--profile', 'esm-only']))
    const folder = mkdtempSync(join(tmpdir(), 'platform-tarball-'))
    try {
      await execute('tar', ['-xzf', tarball, '--strip-components=1', '-C', folder])
      await check(`${name} exports what the workspace does`, () => checkExports(published))
      await check(`${name} asks for ranges`, () => checkRanges(published.manifest))
      await check(`${name} names no private package`, () => checkNames(folder))
      await check(`${name} brings its sources and no tests`, () => checkSources(folder))
      await check(`${name} leads into its sources`, () => checkMaps(folder))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
}

const ownSources = '@platform/source'

/** `publishConfig.exports` repeats `exports` without the condition for our own sources. */
function checkExports({ folder, manifest }: PublishedPackage): void {
  const { exports } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as { exports: Record<string, object> }
  const expected = JSON.stringify(exports, (key, value: unknown) => (key === ownSources ? undefined : value))
  if (JSON.stringify(manifest.exports) !== expected) throw new Error(`${JSON.stringify(manifest.exports)} is not ${expected}`)
}

/** An exact version makes a second copy, or no install at all, in a project that has another. */
function checkRanges({ dependencies = {}, peerDependencies = {} }: PublishedManifest): void {
  const exact = Object.entries({ ...dependencies, ...peerDependencies }).filter(([, range]) => !/^[\^>]/.test(range))
  if (exact.length > 0) throw new Error(`no range: ${exact.map(([dependency, range]) => `${dependency} ${range}`).join(', ')}`)
}

const privatePackages = globSync('{packages,examples}/*/package.json', { cwd: root })
  .map((file) => JSON.parse(readFileSync(join(root, file), 'utf8')) as { name: string; private?: boolean })
  .filter((manifest) => manifest.private)
  .map(({ name }) => name)

function checkNames(folder: string): void {
  for (const file of ['package.json', ...globSync('dist/**/*.*', { cwd: folder })]) {
    const text = readFileSync(join(folder, file), 'utf8')
    const named = privatePackages.filter((name) => text.includes(name) || text.includes(`/${name.split('/')[1]}/src/`))
    if (named.length > 0) throw new Error(`${file} names ${named.join(', ')}, which nobody can install`)
  }
}

function checkSources(folder: string): void {
  if (!existsSync(join(folder, 'src/index.ts'))) throw new Error('src/index.ts is missing')
  const tests = globSync('**/*.{test,test-d,fixture}.*', { cwd: folder })
  if (tests.length > 0) throw new Error(`tests travel: ${tests.join(', ')}`)
}

/** Each map leads to a file of the tarball and holds no second copy of it; what is bundled from elsewhere is in the map. */
function checkMaps(folder: string): void {
  const declarations = globSync('dist/**/*.d.ts', { cwd: folder })
  const maps = globSync('dist/**/*.map', { cwd: folder })
  const unmapped = [...declarations, ...globSync('dist/**/*.js', { cwd: folder })].filter((file) => !maps.includes(`${file}.map`))
  if (unmapped.length > 0) throw new Error(`without a map: ${unmapped.join(', ')}`)
  for (const map of maps) {
    const { sources, sourcesContent = [] } = JSON.parse(readFileSync(join(folder, map), 'utf8')) as {
      sources: string[]
      sourcesContent?: (string | null)[]
    }
    for (const [index, source] of sources.entries()) {
      const travels = existsSync(join(folder, dirname(map), source))
      if (travels === (typeof sourcesContent[index] === 'string'))
        throw new Error(`${map}: ${source} ${travels ? 'is there twice' : 'is missing'}`)
    }
  }
}
