import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { unprivilegedAccount } from './account.ts'
import { amqpGreeting } from './amqp-greeting.ts'
import { containerProgram } from './container-program.ts'
import { type Credentials, type ResolvedCredentials, resolveCredentials } from './credentials.ts'
import { canInstall, installPackages } from './debian.ts'
import type { Image } from './engine.ts'
import { findServer } from './find-server.ts'
import { images } from './images.ts'
import { launch } from './launch.ts'
import { findExecutable } from './locate.ts'
import { resolveStartOptions, type StartOptions } from './options.ts'
import { managementRequest, managementUrl } from './rabbitmq-management.ts'
import type { Plan } from './plan.ts'
import { borrowServer, environmentUrl, type Server } from './server.ts'

export interface RabbitmqOptions extends StartOptions {
  /** Of the administrator. */
  credentials?: Credentials | undefined
}

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
/** Schedulers that wait busily slow down everything else on a small machine. */
const noSpinning = '+sbwt none +sbwtdcpu none +sbwtdio none'
/** Clients are cut and queues written at once; the management listener takes five seconds more. */
const partingMs = 1_500

/** A RabbitMQ of one's own, with its own epmd, whose user may do everything. Queues and messages that are durable survive a restart. */
export async function startRabbitmq(options: RabbitmqOptions = {}): Promise<RabbitmqServer> {
  const resolved = resolveStartOptions(options, ['credentials'])
  const credentials = resolveCredentials(options.credentials)
  const given = environmentUrl(rabbitmqVariable, resolved)
  if (given) {
    const asked = { credentials: options.credentials !== undefined }
    const askVersion = async (url: string) => (await amqpGreeting(url)).version
    const server = await borrowServer(
      given,
      { name: 'rabbitmq', variable: rabbitmqVariable, protocols: ['amqp:'], defaultPort: 5672, askVersion, asked },
      resolved,
    )
    return Object.assign(server, { managementUrl: managementUrl(given) })
  }
  const install = async () => {
    await installPackages(['rabbitmq-server'], resolved)
    return findPrograms()
  }
  const found = await findServer(
    {
      what: 'RabbitMQ',
      variable: rabbitmqVariable,
      program: 'rabbitmq-server',
      image: images.rabbitmq,
      find: findPrograms,
      install: canInstall() ? install : undefined,
    },
    resolved,
  )
  const server = await launch(found.image ? containerPlan(found.image, credentials) : machinePlan(found.programs, credentials), resolved)
  return Object.assign(server, { managementUrl: managementUrl(server.url) })
}

interface RabbitmqPrograms {
  server: string
  epmd: string
}

function findPrograms(): RabbitmqPrograms | undefined {
  const server = findExecutable('rabbitmq-server', [debianFolder])
  const epmd = findExecutable('epmd')
  return server && epmd ? { server, epmd } : undefined
}

function machinePlan({ server, epmd }: RabbitmqPrograms, credentials: ResolvedCredentials): Plan {
  const account = unprivilegedAccount()
  const mark = `platform-${randomBytes(4).toString('hex')}`
  const cookie = randomBytes(12).toString('hex')
  return {
    name: 'rabbitmq',
    origin: `machine (${server})`,
    account,
    asciiPaths: true, // its management agent takes the paths of its logs for Latin-1
    portOffsets: [managementOffset, epmdOffset, distributionOffset],
    stopSignal: 'SIGTERM',
    partingMs,
    prepare(site) {
      site.write('rabbitmq.conf', configuration(site.port, credentials))
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
        RABBITMQ_NODENAME: `${mark}@localhost`,
        RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
        RABBITMQ_LOG_BASE: join(folder, 'logs'),
        RABBITMQ_LOGS: '-',
        RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
        RABBITMQ_CONF_ENV_FILE: join(folder, 'rabbitmq-env.conf'),
        RABBITMQ_GENERATED_CONFIG_DIR: join(folder, 'config'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
        RABBITMQ_PID_FILE: join(folder, 'rabbitmq.pid'),
        RABBITMQ_DIST_PORT: String(port + distributionOffset),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-kernel inet_dist_use_interface {127,0,0,1} ${noSpinning}`,
      }
      return [
        // Without one that is ours the server would start a daemon that outlives it.
        { command: epmd, args: ['-port', epmdPort, '-address', '127.0.0.1'], env: erlang, cwd: folder, account },
        { command: server, args: [], env: rabbitmq, cwd: folder, account },
      ]
    },
    url: ({ port }) => `amqp://${credentials.user}:${credentials.password}@127.0.0.1:${port}`,
    probe: (url) => rabbitmqVersion(url, mark),
  }
}

function containerPlan(image: Image, { user, password }: ResolvedCredentials): Plan {
  const mark = `platform-${randomBytes(4).toString('hex')}`
  return {
    name: 'rabbitmq',
    origin: `container (${image.name})`,
    account: undefined,
    portOffsets: [managementOffset],
    stopSignal: 'SIGTERM',
    partingMs,
    prepare: () => {},
    programs: (site) => [
      containerProgram(site, {
        image,
        publish: [
          [site.port, 5672],
          [site.port + managementOffset, 15672],
        ],
        dataPath: '/var/lib/rabbitmq',
        env: {
          RABBITMQ_DEFAULT_USER: user,
          RABBITMQ_DEFAULT_PASS: password,
          RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: noSpinning,
        },
        options: [`--hostname=${mark}`], // a part of the node's name, under which it keeps its data
        args: ['rabbitmq-server'],
      }),
    ],
    url: ({ port }) => `amqp://${user}:${password}@127.0.0.1:${port}`,
    probe: (url) => rabbitmqVersion(url, mark),
  }
}

/** A broker is ours when it bears our mark, in the node's name or the host's, and its management listener takes our password. */
async function rabbitmqVersion(url: string, mark: string): Promise<string> {
  const { version, clusterName } = await amqpGreeting(url)
  if (!clusterName.includes(mark)) throw new Error('another broker answers')
  await managementRequest(managementUrl(url), 'GET', 'vhosts/%2F')
  return version
}

function configuration(port: number, { user, password }: ResolvedCredentials): string {
  return `
listeners.tcp.1 = 127.0.0.1:${port}
management.tcp.ip = 127.0.0.1
management.tcp.port = ${port + managementOffset}
management_agent.disable_metrics_collector = true
default_user = ${user}
default_pass = ${password}
loopback_users = none
log.console = true
log.file = false
disk_free_limit.absolute = 50MB
`
}
