import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { unprivilegedAccount } from './account.ts'
import { amqpVersion } from './amqp-greeting.ts'
import { canInstall, installPackages } from './debian.ts'
import { launch } from './launch.ts'
import { findExecutable, missing } from './locate.ts'
import { resolveStartOptions, type StartOptions } from './options.ts'
import { managementRequest, managementUrl } from './rabbitmq-management.ts'
import type { Plan } from './plan.ts'
import { borrowServer, type Server } from './server.ts'

export type RabbitmqOptions = StartOptions

export interface RabbitmqServer extends Server {
  /** The management API, with credentials: the AMQP port plus 10,000. */
  readonly managementUrl: string
}

export const rabbitmqVariable = 'PLATFORM_RABBITMQ_URL'
/** Debian's own; the one on PATH there insists on the system's node and user. */
const debianFolder = '/usr/lib/rabbitmq/bin'
const managementOffset = 10_000
const epmdOffset = 1
const distributionOffset = 2

/** A RabbitMQ of one's own, with its own epmd, whose user may do everything. Queues and messages that are durable survive a restart. */
export async function startRabbitmq(options: RabbitmqOptions = {}): Promise<RabbitmqServer> {
  const resolved = resolveStartOptions(options)
  const given = resolved.fresh ? undefined : process.env[rabbitmqVariable]
  if (given) {
    const server = await borrowServer('rabbitmq', rabbitmqVariable, given, amqpVersion, 5672)
    return Object.assign(server, { managementUrl: managementUrl(given) })
  }
  let programs = findPrograms()
  if (!programs && canInstall()) {
    await installPackages(['rabbitmq-server'], resolved)
    programs = findPrograms()
  }
  if (!programs) throw missing('RabbitMQ', rabbitmqVariable, 'rabbitmq-server')
  const server = await launch(rabbitmqPlan(programs.server, programs.epmd), resolved)
  return Object.assign(server, { managementUrl: managementUrl(server.url) })
}

function findPrograms(): { server: string; epmd: string } | undefined {
  const server = findExecutable('rabbitmq-server', [debianFolder])
  const epmd = findExecutable('epmd')
  return server && epmd ? { server, epmd } : undefined
}

function rabbitmqPlan(server: string, epmd: string): Plan {
  const account = unprivilegedAccount()
  const password = randomBytes(12).toString('hex')
  const nodeName = `platform-${randomBytes(4).toString('hex')}@localhost`
  const cookie = randomBytes(12).toString('hex')
  return {
    name: 'rabbitmq',
    origin: `machine (${server})`,
    account,
    portOffsets: [managementOffset, epmdOffset, distributionOffset],
    stopSignal: 'SIGTERM',
    partingMs: 1_500, // clients are cut and queues written at once; the management listener takes five seconds more
    prepare(site) {
      site.write('rabbitmq.conf', configuration(site.port, password))
      site.write('enabled_plugins', '[rabbitmq_management].\n')
      site.write('.erlang.cookie', cookie)
    },
    programs({ folder, port, env }) {
      const epmdPort = String(port + epmdOffset)
      const erlang = {
        ...env,
        HOME: folder,
        LANG: 'C.UTF-8',
        ERL_EPMD_PORT: epmdPort,
        ERL_EPMD_ADDRESS: '127.0.0.1',
        ERL_CRASH_DUMP: join(folder, 'erl_crash.dump'),
        ERL_CRASH_DUMP_BYTES: '0',
      }
      const rabbitmq = {
        ...erlang,
        RABBITMQ_NODENAME: nodeName,
        RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
        RABBITMQ_LOG_BASE: join(folder, 'logs'),
        RABBITMQ_LOGS: '-',
        RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
        RABBITMQ_CONF_ENV_FILE: join(folder, 'rabbitmq-env.conf'),
        RABBITMQ_GENERATED_CONFIG_DIR: join(folder, 'config'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
        RABBITMQ_PID_FILE: join(folder, 'rabbitmq.pid'),
        RABBITMQ_DIST_PORT: String(port + distributionOffset),
        // Loopback only, and no spinning: schedulers that wait busily slow down everything else on a small machine.
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none',
      }
      return [
        // Without one that is ours the server would start a daemon that outlives it.
        { command: epmd, args: ['-port', epmdPort, '-address', '127.0.0.1'], env: erlang, cwd: folder, account },
        { command: server, args: [], env: rabbitmq, cwd: folder, account },
      ]
    },
    url: ({ port }) => `amqp://platform:${password}@127.0.0.1:${port}`,
    async probe(url) {
      const version = await amqpVersion(url)
      await managementRequest(managementUrl(url), 'GET', 'vhosts/%2F')
      return version
    },
  }
}

function configuration(port: number, password: string): string {
  return `
listeners.tcp.1 = 127.0.0.1:${port}
management.tcp.ip = 127.0.0.1
management.tcp.port = ${port + managementOffset}
management_agent.disable_metrics_collector = true
default_user = platform
default_pass = ${password}
loopback_users = none
log.console = true
log.file = false
disk_free_limit.absolute = 50MB
`
}
