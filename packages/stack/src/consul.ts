import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type Account, isOpenToAll, unprivilegedAccount } from './account.ts'
import { containerProgram } from './container-program.ts'
import { isDebian, unpackConsul } from './debian.ts'
import type { Image } from './engine.ts'
import { findServer } from './find-server.ts'
import { images } from './images.ts'
import { launch } from './launch.ts'
import { findExecutable } from './locate.ts'
import { resolveStartOptions, type StartOptions } from './options.ts'
import type { Plan } from './plan.ts'
import { borrowServer, type Server } from './server.ts'

export type ConsulOptions = StartOptions

export const consulVariable = 'PLATFORM_CONSUL_URL'
const rpcOffset = 1
const serfOffset = 2

/** A Consul server of one's own, alone in its datacenter, with data on disk; HTTP only. */
export async function startConsul(options: ConsulOptions = {}): Promise<Server> {
  const resolved = resolveStartOptions(options)
  const given = resolved.fresh ? undefined : process.env[consulVariable]
  if (given) return borrowServer('consul', consulVariable, given, consulVersion, 8500)
  const find = () => {
    const program = findExecutable('consul')
    return program === undefined ? undefined : { program, origin: `machine (${program})` }
  }
  const unpack = async () => {
    const program = await unpackConsul(resolved)
    return { program, origin: `Debian bullseye (${program})` }
  }
  const found = await findServer(
    { what: 'Consul', variable: consulVariable, program: 'consul', image: images.consul, find, install: isDebian() ? unpack : undefined },
    resolved,
  )
  if (found.image) return launch(containerPlan(found.image), resolved)
  const { program, origin } = found.programs
  return launch(machinePlan(program, origin, isOpenToAll(join(program, '..')) ? unprivilegedAccount() : undefined), resolved)
}

const commonSettings = {
  server: true,
  bootstrap_expect: 1,
  bind_addr: '127.0.0.1',
  performance: { raft_multiplier: 1 },
  limits: { http_max_conns_per_client: 10_000 },
  check_update_interval: '0s',
  disable_update_check: true,
  skip_leave_on_interrupt: true, // a server that leaves does not find itself again after a restart
}

const commonPorts = { serf_wan: -1, dns: -1, grpc: -1 }

function machinePlan(program: string, origin: string, account: Account | undefined): Plan {
  return {
    name: 'consul',
    origin,
    account,
    portOffsets: [rpcOffset, serfOffset],
    stopSignal: 'SIGINT',
    prepare({ folder, port, write }) {
      const settings = {
        ...commonSettings,
        node_name: `platform-${randomBytes(4).toString('hex')}`,
        data_dir: join(folder, 'data'),
        client_addr: '127.0.0.1',
        ports: { ...commonPorts, http: port, server: port + rpcOffset, serf_lan: port + serfOffset },
      }
      write('consul.json', JSON.stringify(settings))
    },
    programs: ({ folder, env }) => [
      {
        command: program,
        args: ['agent', `-config-file=${join(folder, 'consul.json')}`],
        env: { ...env, HOME: folder },
        cwd: folder,
        account,
      },
    ],
    url: ({ port }) => `http://127.0.0.1:${port}`,
    probe: consulVersion,
  }
}

function containerPlan(image: Image): Plan {
  // The first start's name stays: the next one finds its own data under it.
  const settings = {
    ...commonSettings,
    node_name: `platform-${randomBytes(4).toString('hex')}`,
    client_addr: '0.0.0.0',
    ports: commonPorts,
  }
  return {
    name: 'consul',
    origin: `container (${image.name})`,
    account: undefined,
    stopSignal: 'SIGINT',
    prepare: () => {},
    programs: (site) => [
      containerProgram(site, {
        image,
        publish: [[site.port, 8500]],
        dataPath: '/consul/data',
        env: { CONSUL_LOCAL_CONFIG: JSON.stringify(settings) },
        args: ['agent'],
      }),
    ],
    url: ({ port }) => `http://127.0.0.1:${port}`,
    probe: consulVersion,
  }
}

/** Rejects until there is a leader that serves reads. */
export async function consulVersion(url: string): Promise<string> {
  const ask = async (path: string, accept: number[]) => {
    const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(5_000) })
    const text = await response.text()
    if (!accept.includes(response.status)) throw new Error(`Consul: ${path} answered ${response.status} ${text.slice(0, 200)}`)
    return text
  }
  await ask('/v1/kv/platform-stack-probe?consistent', [200, 404])
  const { Config } = JSON.parse(await ask('/v1/agent/self', [200])) as { Config: { Version: string } }
  return Config.Version
}
