/** The film store from its sources, staying up: `pnpm dev`, or `pnpm dev --native` on the machine's own servers. */
import { join } from 'node:path'
import { allowInstalls } from './allow-installs.ts'
import { requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
allowInstalls()
// dev hears Ctrl-C itself and cleans up; this process only waits for it.
process.on('SIGINT', () => {})
process.exitCode = await run(process.execPath, [
  '--conditions=@platform/source',
  join(root, 'examples/demo/src/dev.ts'),
  ...process.argv.slice(2),
])
