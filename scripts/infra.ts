/** The film store in containers: `pnpm infra`. */
import { join } from 'node:path'
import { requirePinnedNode, root } from './pinned-node.ts'
import { run } from './step.ts'

requirePinnedNode()
// Ctrl-C, and a terminal that is gone, reach it by themselves, and it waits for what it has begun; this process only waits for it.
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
const [command = '', ...rest] = process.argv.slice(2)
/** Those that compare books, which the demo keeps. */
const rehearsals: Readonly<Record<string, string>> = {
  drill: 'examples/demo/src/drill.ts',
  failover: 'examples/demo/src/failover.ts',
  'rehearse-tls': 'examples/demo/src/tls.ts',
}
const program = rehearsals[command] ?? 'examples/containers/src/infra.ts'
const args = command in rehearsals ? rest : process.argv.slice(2)
process.exitCode = await run(process.execPath, ['--conditions=@platform/source', join(root, program), ...args])
