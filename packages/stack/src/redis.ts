import { unprivilegedAccount } from './account.ts'
import { containerProgram } from './container-program.ts'
import { canInstall, installPackages } from './debian.ts'
import type { Image } from './engine.ts'
import { findServer } from './find-server.ts'
import { images } from './images.ts'
import { launch } from './launch.ts'
import { findExecutable } from './locate.ts'
import { resolveStartOptions, type StartOptions, wrong } from './options.ts'
import type { Plan } from './plan.ts'
import { redisCommand } from './redis-wire.ts'
import { borrowServer, type Server } from './server.ts'

export interface RedisOptions extends StartOptions {
  /** Whether data survives a restart (an append-only file). Default false: a restarted Redis is empty. */
  durable?: boolean | undefined
  /** Further settings, `{ name: value }`, as in redis.conf. */
  settings?: Record<string, string> | undefined
}

export const redisVariable = 'PLATFORM_REDIS_URL'

/** A Redis of one's own with 64 databases and no password. */
export async function startRedis(options: RedisOptions = {}): Promise<Server> {
  const resolved = resolveStartOptions(options, ['durable', 'settings'])
  const { durable = false, settings = {} } = options
  if (typeof durable !== 'boolean') throw wrong('durable', 'must be a boolean')
  const given = resolved.fresh ? undefined : process.env[redisVariable]
  if (given) return borrowServer('redis', redisVariable, given, redisVersion, 6379)

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
  return launch(found.image ? containerPlan(found.image, all) : machinePlan(found.programs, all), resolved)
}

const toArgs = (settings: Record<string, string>) => Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])

function machinePlan(command: string, settings: Record<string, string>): Plan {
  const account = unprivilegedAccount()
  return {
    name: 'redis',
    origin: `machine (${command})`,
    account,
    stopSignal: 'SIGTERM',
    prepare: () => {},
    programs: ({ folder, port, env }) => [
      {
        command,
        args: ['--port', String(port), '--dir', folder, ...toArgs({ bind: '127.0.0.1', ...settings })],
        env,
        cwd: folder,
        account,
      },
    ],
    url: ({ port }) => `redis://127.0.0.1:${port}`,
    probe: redisVersion,
  }
}

function containerPlan(image: Image, settings: Record<string, string>): Plan {
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
        // Clients come through the container's network: only the port on this machine's loopback interface leads there.
        args: ['redis-server', '--dir', '/data', ...toArgs({ 'protected-mode': 'no', ...settings })],
      }),
    ],
    url: ({ port }) => `redis://127.0.0.1:${port}`,
    probe: redisVersion,
  }
}

export async function redisVersion(url: string): Promise<string> {
  const info = await redisCommand(url, 'INFO', 'server')
  return /redis_version:(\S+)/.exec(String(info))?.[1] ?? ''
}
