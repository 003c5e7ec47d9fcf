import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { RolledBack, rollout } from '../../examples/containers/src/index.ts'
import { compose, type ComposeProject, docker } from '../../packages/stack/src/compose.ts'
import { root } from '../pinned-node.ts'
import { type Check, must } from './check.ts'
import { imageWith } from './image-with.ts'
import { keepsContainers } from './same-containers.ts'

interface Operated {
  readonly project: ComposeProject
  readonly shopUrl: string
  readonly check: Check
}

interface Said {
  readonly code: number | null
  readonly text: string
}

/** What an operator does by mistake, twice, or half: it is refused or taken back, and the store is what it was. */
export async function operatorChecks({ project, shopUrl, check }: Operated): Promise<void> {
  const infra = (args: readonly string[], onText: (text: string, interrupt: () => void) => void = () => {}): Promise<Said> => {
    const child = spawn(process.execPath, [join(root, 'scripts/infra.ts'), ...args], {
      env: { ...process.env, ...project.env },
      detached: true,
    })
    let text = ''
    // As a terminal does it: the whole group hears of it.
    const interrupt = () => process.kill(-child.pid!, 'SIGINT')
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (more: string) => {
        text += more
        onText(text, interrupt)
      })
    return new Promise((resolve, reject) => child.once('error', reject).once('close', (code) => resolve({ code, text })))
  }
  const says = ({ code, text }: Said, wanted: string, refused = true) =>
    (code === 0) !== refused && text.includes(wanted) ? [] : [`exit code ${code}: ${text.trim().slice(-200)}`]
  /** The very containers of before, and a customer who is served. */
  const unchanged = async (what: string, work: () => Promise<readonly string[]>): Promise<boolean> =>
    check(what, async () => {
      const faults = await keepsContainers(project, work)
      const { status } = await fetch(`${shopUrl}/films/1`)
      return must([...faults, ...(status === 200 ? [] : [`status ${status}`])], 'nothing changed')
    })

  const up = async () => says(await infra(['up', '--no-build']), 'All is well', false)
  await unchanged('an up after rollouts changes nothing', up)
  await check('an up keeps another release that was rolled out', async () => {
    const service = 'fulfilment-worker'
    const roll = (image: string) => rollout({ project, service, image, onProgress: () => {} })
    const before = (await docker(['inspect', '--format', '{{.Id}}', `film-store/${service}`])).trim()
    await using next = imageWith(service, 'LABEL film-store.release=next')
    await roll(next.name)
    try {
      return must(await keepsContainers(project, up), 'the very containers')
    } finally {
      await roll(before)
    }
  })
  await unchanged('a service that nobody has is not rolled out', async () =>
    says(await infra(['rollout', 'orders']), 'there is no service orders'),
  )
  await unchanged('an image that nobody has is not rolled out', async () =>
    says(await infra(['rollout', 'orders-api', '--image', 'film-store/orders-api:nowhere']), 'there is no image'),
  )
  await unchanged('down means the store, and takes no name of a service', async () =>
    says(await infra(['down', 'orders-api']), 'takes nothing more'),
  )
  await unchanged('Ctrl-C in a rollout takes it back, and nobody else works on the store meanwhile', async () => {
    let other: Promise<Said> | undefined
    const said = await infra(['rollout', 'fulfilment-worker', '--no-build'], (text, interrupt) => {
      if (other === undefined && text.includes('is done')) other = infra(['up', '--no-build']).finally(interrupt)
    })
    return [...says(said, 'runs what it ran before'), ...says(await other!, 'is at work on')]
  })
  await unchanged('an image that is never ready goes back', () =>
    refused(project, 'HEALTHCHECK --interval=1s --timeout=1s --start-period=1s --retries=2 CMD ["false"]', 'is not healthy'),
  )
  await check('an image that answers errors goes back', async () =>
    must(await refused(project, `ENV NODE_OPTIONS="--import=${failing}"`, 'with an error', shopUrl), 'after its first answers'),
  )
  await check('a container that was stopped, or is gone, is not well', async () => {
    await compose(project, 'stop', '--timeout', '20', 'identity-api')
    const stopped = says(await infra(['status']), 'FAIL identity-api')
    await compose(project, 'rm', '--force', 'identity-api')
    const gone = says(await infra(['status']), 'is not there')
    return must([...stopped, ...gone, ...(await up())], 'and up brings it back')
  })
  await check('a backup that fails leaves nothing that a restore could take', async () => {
    const kept = () => compose(project, 'exec', '-T', 'backup', 'find', '/backups/consul', '-name', '*.enc')
    const before = await kept()
    const failed = await compose(project, 'exec', '-T', '--env', 'CONSUL_URL=http://consul:1', 'backup', 'backup', 'now', 'consul').catch(
      (error: Error) => error,
    )
    return must(
      [...(failed instanceof Error ? [] : ['it did not fail']), ...((await kept()) === before ? [] : ['there is another file'])],
      'the newest is a whole one',
    )
  })
}

/** Every answer to a customer is one of 500; probes are answered as ever. */
const failing = `data:text/javascript,${encodeURIComponent(`
import { ServerResponse } from 'node:http'
const writeHead = ServerResponse.prototype.writeHead
ServerResponse.prototype.writeHead = function (...args) {
  if (this.req.socket.localPort !== 3000) return writeHead.apply(this, args)
  this.statusCode = 500
  return writeHead.call(this, 500)
}`)}`

/** A rollout of the service's own image with one line more, which must go back for this reason; with customers, if it takes them to see it. */
async function refused(project: ComposeProject, line: string, why: string, shopUrl?: string): Promise<readonly string[]> {
  const service = 'catalog-api'
  await using image = imageWith(service, line)
  const customers =
    shopUrl === undefined ? undefined : setInterval(() => void fetch(`${shopUrl}/films?query=${Math.random()}`).catch(() => {}), 20)
  try {
    const outcome = await rollout({ project, service, image: image.name, onProgress: () => {} }).catch((error: unknown) => error)
    return outcome instanceof RolledBack && outcome.message.includes(why)
      ? []
      : [outcome instanceof Error ? outcome.message : 'it was taken']
  } finally {
    clearInterval(customers)
  }
}
