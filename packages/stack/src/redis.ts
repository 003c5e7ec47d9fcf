import { unprivilegedAccount } from './account.ts'
import { containerProgram } from './container-program.ts'
import { type Credentials, resolveCredentials } from './credentials.ts'
import { canInstall, installPackages } from './debian.ts'
import type { Image } from './engine.ts'
import { findServer } from './find-server.ts'
import { images } from './images.ts'
import { launch } from './launch.ts'
import { findExecutable } from './locate.ts'
import { booleanOption, resolveStartOptions, settingsOption, type StartOptions } from './options.ts'
import type { Plan } from './plan.ts'
import { redisCommand } from './redis-wire.ts'
import { borrowServer, environmentUrl, type Server } from './server.ts'

export interface RedisOptions extends StartOptions {
  /** Whether data survives a restart (an append-only file). Default false: a restarted Redis is empty. */
  durable?: boolean | undefined
  /** Further settings, `{ name: value }`, as in redis.conf. */
  settings?: Record<string, string> | undefined
  /** Of the default user, who has no name. */
  credentials?: Pick<Credentials, 'password'> | undefined
}

export const redisVariable = 'PLATFORM_REDIS_URL'

/** A Redis of one's own with 64 databases and a generated password. */
export async function startRedis(options: RedisOptions = {}): Promise<Server> {
  const resolved = resolveStartOptions(options, ['durable', 'settings', 'credentials'])
  const { durable = false } = options
  booleanOption('durable', durable)
  const settings = settingsOption(options.settings ?? {}, ['port', 'dir', 'requirepass', 'daemonize'])
  const { password } = resolveCredentials(options.credentials, ['password'])
  const given = environmentUrl(redisVariable, resolved)
  if (given) {
    const asked = { durable, settings: Object.keys(settings).length > 0, credentials: options.credentials !== undefined }
    return borrowServer(
      given,
      { name: 'redis', variable: redisVariable, protocols: ['redis:'], defaultPort: 6379, askVersion: redisVersion, asked },
      resolved,
    )
  }

  const find = () => findExecutable('redis-server')
  const install = async () => {
    await installPackages(['redis-server'], resolved)
    return find()
  }
  const found = await findServer(
    {
      what: 'Redis',
      variable: redisVariable,
      program: 'redis-server',
      image: images.redis,
      find,
      install: canInstall() ? install : undefined,
    },
    resolved,
  )
  const all = { databases: '64', save: '', appendonly: durable ? 'yes' : 'no', ...settings }
  return launch(found.image ? containerPlan(found.image, all, password) : machinePlan(found.programs, all, password), resolved)
}

const toArgs = (settings: Record<string, string>) => Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])

/** A Redis that is not ours does not take the password, or takes none at all: both are errors of the probe. */
function machinePlan(command: string, settings: Record<string, string>, password: string): Plan {
  const account = unprivilegedAccount()
  return {
    name: 'redis',
    origin: `machine (${command})`,
    account,
    stopSignal: 'SIGTERM',
    prepare(site) {
      site.write('redis.conf', `requirepass ${password}\n`)
    },
    programs: ({ folder, port, env }) => [
      {
        command,
        // By its name alone: the file is in the folder in which the server starts.
        args: ['redis.conf', '--port', String(port), '--dir', folder, ...toArgs({ bind: '127.0.0.1', ...settings })],
        env,
        cwd: folder,
        account,
      },
    ],
    url: ({ port }) => `redis://:${password}@127.0.0.1:${port}`,
    probe: redisVersion,
  }
}

/** Through a shell, so that the password stands in no list of processes. */
const withPassword = 'exec docker-entrypoint.sh redis-server "$@" --requirepass "$PLATFORM_STACK_PASSWORD"'

function containerPlan(image: Image, settings: Record<string, string>, password: string): Plan {
  return {
    name: 'redis',
    origin: `container (${image.name})`,
    account: undefined,
    stopSignal: 'SIGTERM',
    prepare: () => {},
    programs: (site) => [
      containerProgram(site, {
        image,
        publish: [[site.port, 6379]],
        dataPath: '/data',
        env: { PLATFORM_STACK_PASSWORD: password },
        args: ['sh', '-c', withPassword, 'sh', '--dir', '/data', ...toArgs(settings)],
      }),
    ],
    url: ({ port }) => `redis://:${password}@127.0.0.1:${port}`,
    probe: redisVersion,
  }
}

export async function redisVersion(url: string): Promise<string> {
  const info = await redisCommand(url, 'INFO', 'server')
  const version = /redis_version:(\S+)/.exec(String(info))?.[1]
  if (version === undefined) throw new Error('what answers is no Redis')
  return version
}
