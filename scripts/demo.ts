/** Builds what the film store needs and runs it: `pnpm demo --help` names the options. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { allowInstalls } from './allow-installs.ts'
import { bin, requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
allowInstalls()
console.log('Building the services …')
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' }
const build = spawnSync(bin('turbo'), ['run', 'build', '--filter=@film-store/demo...', '--output-logs=errors-only'], {
  cwd: root,
  env,
  encoding: 'utf8',
})
if (build.status !== 0) {
  console.error(build.stdout, build.stderr)
  process.exit(build.status ?? 1)
}
// The demo hears Ctrl-C itself and cleans up; this process only waits for it.
process.on('SIGINT', () => {})
process.exitCode = await run(process.execPath, [join(root, 'examples/demo/dist/main.js'), ...process.argv.slice(2)])
