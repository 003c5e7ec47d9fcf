import { randomBytes } from 'node:crypto'
import { freePort } from '@platform/stack'
import { docker } from '@platform/stack/compose'
import { vi } from 'vitest'

export interface ClusterNode {
  readonly name: string
  readonly url: string
  kill(): Promise<void>
  /** Starts it again after a kill, and waits until it is a member that has caught up. */
  restart(): Promise<void>
}

export interface Cluster extends AsyncDisposable {
  readonly nodes: readonly ClusterNode[]
}

const patience = { timeout: 120_000, interval: 1_000 }

/** Three nodes of RabbitMQ in containers, on a network of their own, joined to one cluster. */
export async function startCluster(image: string): Promise<Cluster> {
  const mark = `platform-cluster-${randomBytes(4).toString('hex')}`
  const cookie = randomBytes(12).toString('hex')
  const made: string[] = []
  const remove = async (): Promise<void> => {
    if (made.length > 0) await docker(['rm', '--force', '--volumes', ...made])
    await docker(['network', 'rm', mark])
  }
  const control = (name: string, ...args: string[]): Promise<string> => docker(['exec', name, 'rabbitmqctl', ...args])
  const awaitUp = (name: string): Promise<void> =>
    vi.waitFor(async () => void (await docker(['exec', name, 'rabbitmq-diagnostics', '--quiet', 'check_port_connectivity'])), patience)

  const start = async (at: number): Promise<ClusterNode> => {
    const name = `${mark}-${at}`
    const port = await freePort()
    const env = { RABBITMQ_ERLANG_COOKIE: cookie, RABBITMQ_DEFAULT_USER: 'platform', RABBITMQ_DEFAULT_PASS: cookie }
    const settings = Object.entries(env).flatMap(([key, value]) => ['--env', `${key}=${value}`])
    const place = ['--name', name, '--hostname', name, '--network', mark, '--publish', `127.0.0.1:${port}:5672`]
    made.push(name)
    await docker(['run', '--detach', ...place, ...settings, image])
    return {
      name,
      url: `amqp://platform:${cookie}@127.0.0.1:${port}`,
      kill: async () => void (await docker(['kill', '--signal', 'KILL', name])),
      restart: async () => {
        await docker(['start', name])
        await awaitUp(name)
      },
    }
  }

  await docker(['network', 'create', mark])
  try {
    const nodes = await Promise.all([0, 1, 2].map((at) => start(at)))
    await Promise.all(nodes.map(({ name }) => awaitUp(name)))
    const [first, ...others] = nodes as [ClusterNode, ...ClusterNode[]]
    for (const { name } of others) {
      await control(name, 'stop_app')
      await control(name, 'reset')
      await control(name, 'join_cluster', `rabbit@${first.name}`)
      await control(name, 'start_app')
    }
    return { nodes, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}
