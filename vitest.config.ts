import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { defineConfig, type ViteUserConfig } from 'vitest/config'

/**
 * Which files a run takes: `test` everything that shares servers, `unit` only what needs none, `chaos` what breaks servers of its own, `long` what
 * takes minutes, `container` what needs a container engine.
 */
const suite = process.env['PLATFORM_SUITE'] ?? 'test'
const separate = ['chaos', 'long', 'container']
const include = separate.includes(suite) ? [`src/**/*.${suite}.test.ts`] : ['src/**/*.test.ts']
const exclude = separate.includes(suite)
  ? []
  : [...separate, ...(suite === 'unit' ? ['integration'] : [])].map((name) => `src/**/*.${name}.test.ts`)

const packageName = (file: string) => (JSON.parse(readFileSync(file, 'utf8')) as { name: string }).name

const config: ViteUserConfig = defineConfig({
  ssr: { resolve: { conditions: ['@platform/source', 'module', 'node', 'development|production'] } },
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  test: {
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // The second that it is by default is short for servers and processes on a machine that has other work to do.
    expect: { poll: { timeout: 10_000 } },
    maxWorkers: 2,
    projects: globSync('{packages,examples}/*/package.json', { cwd: import.meta.dirname })
      .map((file) => join(import.meta.dirname, file))
      .map((file) => ({
        extends: true as const,
        root: dirname(file),
        test: { name: packageName(file), include, exclude },
      })),
  },
})

export default config
