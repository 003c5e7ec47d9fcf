import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LocalRegistry } from '../local-registry.ts'
import { root } from '../pinned-node.ts'
import { type Check, execute, two } from './checks.ts'

const compilers = {
  '5.9': ['node_modules/typescript59/bin/tsc'],
  '6.0': ['node_modules/typescript/bin/tsc6'],
  '7.0': ['node_modules/@typescript/native/bin/tsc'],
} as const

interface Mode {
  readonly module: string
  readonly moduleResolution: string
  /** The programs that are compiled together: ES modules and CommonJS. */
  readonly programs: readonly ['all.mts' | 'all.ts', 'all.cts']
  /** The error that each import of the CommonJS program gives, where that cannot work whatever we do. */
  readonly requireRefused?: string
}

const modes: readonly Mode[] = [
  { module: 'nodenext', moduleResolution: 'nodenext', programs: ['all.mts', 'all.cts'] },
  { module: 'node16', moduleResolution: 'node16', programs: ['all.mts', 'all.cts'], requireRefused: 'TS1471' },
  { module: 'preserve', moduleResolution: 'bundler', programs: ['all.ts', 'all.cts'] },
]

/**
 * Compiles a program that imports every entry point, as strict as a project can be. Declarations of others are looked into as well
 * (`skipLibCheck` off): what passes so also passes with it on.
 */
export async function checkTypes(
  project: string,
  { packages }: LocalRegistry,
  check: Check,
  versions: readonly string[] = Object.keys(compilers),
): Promise<void> {
  const entries = packages.flatMap(({ name, manifest }) => Object.keys(manifest.exports).map((path) => name + path.slice(1)))
  const folder = join(project, 'types')
  mkdirSync(folder, { recursive: true })
  const use = `export const all: readonly object[] = [${entries.map((_, index) => `m${index}`).join(', ')}]\n`
  const imports = entries.map((entry, index) => `import * as m${index} from '${entry}'\n`).join('') + use
  writeFileSync(join(folder, 'all.ts'), imports)
  writeFileSync(join(folder, 'all.mts'), imports)
  writeFileSync(join(folder, 'all.cts'), entries.map((entry, index) => `import m${index} = require('${entry}')\n`).join('') + use)

  const runs = Object.entries(compilers)
    .filter(([version]) => versions.includes(version))
    .flatMap(([version, [path]]) => modes.map((mode) => ({ version, compiler: join(root, path), ...mode })))
  await two(runs, ({ version, compiler, programs, module, moduleResolution, requireRefused }) =>
    check(`${entries.length} entry points, TypeScript ${version}, ${moduleResolution}`, async () => {
      const config = join(folder, `${version}-${module}.json`)
      const compilerOptions = {
        target: 'es2022',
        module,
        moduleResolution,
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true,
        types: ['node'],
      }
      writeFileSync(config, JSON.stringify({ compilerOptions, files: programs }))
      const { stdout } = await execute(process.execPath, [compiler, '--version'])
      if (!stdout.includes(`Version ${version}.`)) throw new Error(`${compiler} is ${stdout}`)
      const compiled = await execute(process.execPath, [compiler, '-p', config], { cwd: project }).catch(
        (error: { stdout: string }) => error,
      )
      const errors = compiled.stdout.split('\n').filter((line) => line.includes('error TS'))
      const refused = errors.filter((line) => requireRefused && line.includes('all.cts(') && line.includes(requireRefused))
      const unexpected = errors.filter((line) => !refused.includes(line))
      if (unexpected.length > 0) throw new Error(unexpected.slice(0, 20).join('\n'))
      if (requireRefused && refused.length !== entries.length)
        throw new Error(`only ${refused.length} imports are refused: say in the README what works now`)
    }),
  )
}
