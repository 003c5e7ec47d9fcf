/** Measurements beside peers: `pnpm bench` lists the questions. */
import { join } from 'node:path'
import { allowInstalls } from './allow-installs.ts'
import { requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
allowInstalls()
process.exitCode = await run(process.execPath, ['--conditions=@platform/source', join(root, 'bench/main.ts'), ...process.argv.slice(2)])
