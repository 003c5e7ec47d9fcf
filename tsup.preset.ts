import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Options } from 'tsup'

// tsup bundles this file into each package's configuration: only the working folder tells where it runs.
const root = resolve('../..')
const kernelSource = /^.*\/kernel\/src\//

/**
 * What every package builds the same way: one ES module and its declarations per entry point of its manifest, `dist` laid out as `src` is.
 * tsup makes the JavaScript, the compiler the declarations: a bundler of declarations may drop what it does not know.
 * @param more Entry points that the manifest does not name, such as a program that the package starts.
 */
export function library(more: Record<string, string> = {}): Options {
  const entry = { ...entryPoints(), ...more }
  return {
    ...program(entry),
    async onSuccess() {
      tidyJavaScript()
      declare(Object.values(entry))
    },
  }
}

/** A program that is run, not imported: no declarations; workspace packages stay separate so that the demo runs what is published. */
export function program(entry: Record<string, string>): Options {
  return {
    entry,
    format: 'esm',
    dts: false,
    sourcemap: true,
    clean: true,
    target: 'node22',
    platform: 'node',
    // Bundlers know every module of Node by `node:…`, but not each of them without.
    removeNodeProtocol: false,
    // The sources travel beside the maps.
    esbuildOptions: (options) => {
      options.sourcesContent = false
    },
  }
}

/** The sources that `exports` and `bin` stand for, by the path of what is built from them: `{ 'drivers/redis': 'src/drivers/redis.ts' }`. */
function entryPoints(): Record<string, string> {
  const { exports, bin = {} } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    exports: Record<string, { types: string }>
    bin?: Record<string, string>
  }
  const built = [...Object.values(exports).map((target) => target.types), ...Object.values(bin)]
  return Object.fromEntries(
    built.map((file) => {
      const name = /^\.\/dist\/(.+?)\.(?:d\.ts|js)$/.exec(file)?.[1]
      if (!name) throw new Error(`package.json: ${file} is not ./dist/<path of the source>, .d.ts or .js`)
      return [name, `src/${name}.ts`]
    }),
  )
}

/** The bundled kernel's sources are in no tarball: its maps carry them, and no path leads out of the package. */
function tidyJavaScript(): void {
  for (const file of globSync('dist/**/*.js')) {
    const code = readFileSync(file, 'utf8')
    writeFileSync(file, code.replaceAll(/^\/\/ \S*\/kernel\/src\/\S+$/gm, '// bundled'))
    const map = JSON.parse(readFileSync(`${file}.map`, 'utf8')) as { sources: string[]; sourcesContent?: (string | null)[] }
    if (!map.sources.some((source) => kernelSource.test(source))) continue
    map.sourcesContent = map.sources.map((source) =>
      kernelSource.test(source) ? readFileSync(resolve(dirname(file), source), 'utf8') : null,
    )
    map.sources = map.sources.map((source) => source.replace(kernelSource, 'bundled/'))
    writeFileSync(`${file}.map`, JSON.stringify(map))
  }
}

/** Declarations with maps into `src`, file by file. Types are checked elsewhere, once for all packages. */
function declare(entries: readonly string[]): void {
  const config = join('node_modules', '.build', 'tsconfig.json')
  mkdirSync(dirname(config), { recursive: true })
  const compilerOptions = {
    noEmit: false,
    emitDeclarationOnly: true,
    declarationMap: true,
    noCheck: true,
    customConditions: [],
    rootDir: resolve('src'),
    outDir: resolve('dist'),
    typeRoots: [join(root, 'node_modules/@types')],
  }
  const files = entries.map((file) => resolve(file))
  writeFileSync(config, JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, include: [], files }))
  const { status, stdout, stderr, error } = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', config], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the declarations were not made:\n${stdout}${stderr}`, { cause: error })
  for (const file of globSync('dist/**/*.d.ts')) writeFileSync(file, builtSpecifiers(readFileSync(file, 'utf8')))
}

/** `./store.ts` as `./store.js`, for tools that look for the file: the compiler rewrites specifiers in what it emits as JavaScript only. */
function builtSpecifiers(declaration: string): string {
  return declaration.replaceAll(/\b((?:from|import) ?\(?['"]\.[^'"]*)\.ts(?=['"])/g, '$1.js')
}
