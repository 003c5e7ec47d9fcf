/** Publishes all packages to a registry on this machine and keeps it running, so that a project can install them. `--port 0` draws a port. */
import { parseArgs } from 'node:util'
import { publishLocally } from './local-registry.ts'
import { requirePinnedNode } from './pinned-node.ts'
import { portTaken } from './port-holder.ts'

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
const taken = await portTaken(port)
if (taken) refuse(`${taken}; end it, or name another port`)
await using registry = await publishLocally({ port, onProgress: (line) => console.log(line) })
console.log(`\nInstall them in a project of your own, with this line in its .npmrc:\n\n  @platform:registry=${registry.url}\n`)
console.log('Ctrl-C ends the registry; nothing of it stays.')
await new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
