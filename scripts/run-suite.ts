/** Runs one suite (`test`, `chaos`, `long` or `container`) of the package in the current folder and leaves its results in `reports/`, where turbo caches them. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { allowInstalls } from './allow-installs.ts'

const root = resolve(import.meta.dirname, '..')
const suite = process.argv[2] ?? 'test'
const { name } = JSON.parse(readFileSync('package.json', 'utf8')) as { name: string }
const report = join(relative(root, process.cwd()), 'reports', `${suite}.json`)

allowInstalls()
const vitest = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--root',
    root,
    '--project',
    name,
    '--passWithNoTests',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...(suite === 'test' ? [] : ['--no-file-parallelism']),
    ...process.argv.slice(3),
  ],
  { stdio: 'inherit', env: { ...process.env, PLATFORM_SUITE: suite } },
)
process.exitCode = vitest.status ?? 1
