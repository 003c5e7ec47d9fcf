/** Publishes all packages to a registry on this machine and keeps it running, so that a project can install them. */
import { bin, requirePinnedNode } from './pinned-node.ts'
import { publishLocally } from './local-registry.ts'
import { command } from './step.ts'

requirePinnedNode()
const built = await command(bin('turbo'), ['run', 'build', '--filter=./packages/*', '--output-logs=errors-only'])()
if (built.failed > 0) process.exit(1)

await using registry = await publishLocally({ port: 4873, onProgress: (line) => console.log(line) })
console.log(`\nInstall them in a project of your own, with this line in its .npmrc:\n\n  @platform:registry=${registry.url}\n`)
console.log('Ctrl-C ends the registry; nothing of it stays.')
await new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
