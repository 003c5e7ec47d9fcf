/** Publishes all packages to a registry on this machine and keeps it running, so that a project can install them. `--port 0` draws a port. */
import { parseArgs } from 'node:util'
import { publishLocally } from './local-registry.ts'
import { bin, requirePinnedNode } from './pinned-node.ts'
import { portTaken } from './port-holder.ts'
import { command } from './step.ts'

requirePinnedNode()

function refuse(reason: string): never {
  console.error(`${reason}\nusage: release:local [--port N]   (0 to 65535, default 4873; 0 draws a free one)`)
  process.exit(1)
}

function portOption(): number {
  try {
    const { values } = parseArgs({ options: { port: { type: 'string', default: '4873' } } })
    if (/^\d{1,5}$/.test(values.port) && Number(values.port) <= 65_535) return Number(values.port)
    return refuse(`--port ${values.port} is not a port`)
  } catch (error) {
    return refuse((error as Error).message)
  }
}

const port = portOption()
// Before the build, which takes its time.
const taken = await portTaken(port)
if (taken) refuse(`${taken}; end it, or name another port`)
const built = await command(bin('turbo'), ['run', 'build', '--filter=./packages/*', '--output-logs=errors-only'])()
if (built.failed > 0) process.exit(1)

await using registry = await publishLocally({ port, onProgress: (line) => console.log(line) })
console.log(`\nInstall them in a project of your own, with this line in its .npmrc:\n\n  @platform:registry=${registry.url}\n`)
console.log('Ctrl-C ends the registry; nothing of it stays.')
await new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
