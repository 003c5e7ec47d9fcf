import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type Account, isOpenToAll, unprivilegedAccount } from './account.ts'
import { isDebian, unpackConsul } from './debian.ts'
import { launch } from './launch.ts'
import { findExecutable, missing } from './locate.ts'
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
  const found = findExecutable('consul')
  const program = found ?? (isDebian() ? await unpackConsul(resolved) : undefined)
  if (!program) throw missing('Consul', consulVariable, 'consul')
  const origin = found ? `machine (${program})` : `Debian bullseye (${program})`
  return launch(consulPlan(program, origin, isOpenToAll(join(program, '..')) ? unprivilegedAccount() : undefined), resolved)
}

function consulPlan(program: string, origin: string, account: Account | undefined): Plan {
  return {
    name: 'consul',
    origin,
    account,
    portOffsets: [rpcOffset, serfOffset],
    stopSignal: 'SIGINT',
    prepare({ folder, port, write }) {
      const settings = {
        server: true,
        bootstrap_expect: 1,
        node_name: `platform-${randomBytes(4).toString('hex')}`,
        data_dir: join(folder, 'data'),
        bind_addr: '127.0.0.1',
        client_addr: '127.0.0.1',
        ports: { http: port, server: port + rpcOffset, serf_lan: port + serfOffset, serf_wan: -1, dns: -1, grpc: -1 },
        performance: { raft_multiplier: 1 },
        limits: { http_max_conns_per_client: 10_000 },
        check_update_interval: '0s',
        disable_update_check: true,
        skip_leave_on_interrupt: true, // a server that leaves does not find itself again after a restart
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
