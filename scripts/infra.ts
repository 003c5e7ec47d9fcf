/** The film store in containers: `pnpm infra up | down | status | logs | doctor | dev`. */
import { join } from 'node:path'
import { requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
// Ctrl-C reaches it by itself, and it waits for what it has begun; this process only waits for it.
process.on('SIGINT', () => {})
const program = join(root, 'examples/containers/src/infra.ts')
process.exitCode = await run(process.execPath, ['--conditions=@platform/source', program, ...process.argv.slice(2)])
