import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isOpenToAll, unprivilegedAccount } from './account.ts'
import { asOnTheMachine } from './container-program.ts'
import { bullseyeConsul, isDebian, unpack, unpacked } from './debian.ts'
import { findServer, type Found } from './find-server.ts'
import { images } from './images.ts'
import { launch } from './launch.ts'
import { findExecutable } from './locate.ts'
import { resolveStartOptions, type StartOptions, wrong } from './options.ts'
import type { Plan, Site } from './plan.ts'
import type { Program } from './program.ts'
import { borrowServer, environmentUrl, type Server } from './server.ts'

export interface ConsulOptions extends StartOptions {
  /** Answers DNS as well, on 127.0.0.1 and the port three above that of its URL; only a server of one's own. Default false. */
  dns?: boolean | undefined
}

export const consulVariable = 'PLATFORM_CONSUL_URL'
const rpcOffset = 1
const serfOffset = 2
const dnsOffset = 3
const settingsFile = 'consul.json'

interface ConsulProgram {
  program: string
  origin: string
}

/**
 * A Consul server of one's own, alone in its datacenter, with data on disk; HTTP, and DNS if asked for. It reaches this machine's loopback
 * interface in a container too, so it can check services there.
 */
export async function startConsul(options: ConsulOptions = {}): Promise<Server> {
  const resolved = resolveStartOptions(options, ['dns'])
  const { dns = false } = options
  if (typeof dns !== 'boolean') throw wrong('dns', 'must be a boolean')
  const given = environmentUrl(consulVariable, resolved)
  if (given) {
    const protocols = ['http:', 'https:']
    return borrowServer(
      given,
      { name: 'consul', variable: consulVariable, protocols, defaultPort: 8500, askVersion: consulVersion, asked: {} },
      resolved,
    )
  }
  const find = () => {
    const program = findExecutable('consul')
    if (program !== undefined) return { program, origin: `machine (${program})` }
    const bullseye = unpacked(bullseyeConsul)
    return bullseye === undefined ? undefined : { program: bullseye, origin: `Debian bullseye (${bullseye})` }
  }
  const install = async () => {
    const program = await unpack(bullseyeConsul, resolved)
    return { program, origin: `Debian bullseye (${program})` }
  }
  const found = await findServer(
    { what: 'Consul', variable: consulVariable, program: 'consul', image: images.consul, find, install: isDebian() ? install : undefined },
    resolved,
  )
  return launch(consulPlan(found, dns), resolved)
}

function consulPlan({ image, programs }: Found<ConsulProgram>, dns: boolean): Plan {
  const shared = image !== undefined || isOpenToAll(join(programs.program, '..'))
  const account = shared ? unprivilegedAccount() : undefined
  const node = `platform-${randomBytes(8).toString('hex')}`
  const program = (site: Site, args: string[]): Program => {
    const { folder, env } = site
    const own = { command: programs?.program ?? 'consul', args, env: { ...env, HOME: folder }, cwd: folder, account }
    return image ? asOnTheMachine(site, image, own) : own
  }
  return {
    name: 'consul',
    origin: image ? `container (${image.name})` : programs.origin,
    account,
    portOffsets: [rpcOffset, serfOffset, ...(dns ? [dnsOffset] : [])],
    stopSignal: 'SIGINT',
    async prepare(site) {
      const ports = { dns: dns ? site.port + dnsOffset : -1 }
      const file = site.write(settingsFile, settingsText(site, node, { ...ports, grpc_tls: -1 }))
      try {
        await site.runToEnd(program(site, ['validate', file]))
      } catch {
        // Before 1.14 there is no such port, and its name is refused; after that two servers would fight for the default.
        site.write(settingsFile, settingsText(site, node, ports))
      }
    },
    programs: (site) => [program(site, ['agent', `-config-file=${join(site.folder, settingsFile)}`])],
    url: ({ port }) => `http://127.0.0.1:${port}`,
    probe: (url) => consulVersion(url, node),
  }
}

function settingsText({ folder, port }: Site, node: string, ports: Record<string, number>): string {
  return JSON.stringify({
    server: true,
    bootstrap_expect: 1,
    node_name: node,
    data_dir: join(folder, 'data'),
    bind_addr: '127.0.0.1',
    client_addr: '127.0.0.1',
    ports: { http: port, server: port + rpcOffset, serf_lan: port + serfOffset, serf_wan: -1, grpc: -1, ...ports },
    performance: { raft_multiplier: 1 },
    limits: { http_max_conns_per_client: connectionsPerClient() },
    check_update_interval: '0s',
    disable_update_check: true,
    skip_leave_on_interrupt: true, // a server that leaves does not find itself again after a restart
  })
}

/** Consul's own default, unless this process may not open as many files: Consul then refuses to start. */
function connectionsPerClient(): number {
  const wanted = 200
  if (process.platform !== 'linux') return wanted
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
  return soft === undefined ? wanted : Math.max(20, Math.min(wanted, Math.floor(Number(soft) / 2)))
}

/** Rejects until there is a leader that serves reads, and when it is another one. */
export async function consulVersion(url: string, node?: string): Promise<string> {
  const ask = async (path: string, accept: number[]) => {
    const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(5_000) })
    const text = await response.text()
    if (!accept.includes(response.status)) throw new Error(`Consul: ${path} answered ${response.status} ${text.slice(0, 200)}`)
    return text
  }
  await ask('/v1/kv/platform-stack-probe?consistent', [200, 404])
  const { Config } = JSON.parse(await ask('/v1/agent/self', [200])) as { Config: { Version: string; NodeName: string } }
  if (node !== undefined && Config.NodeName !== node) throw new Error('another Consul answers')
  return Config.Version
}
