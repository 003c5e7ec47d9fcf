import { unprivilegedAccount } from './account.ts'
import { canInstall, installPackages } from './debian.ts'
import { launch } from './launch.ts'
import { findExecutable, missing } from './locate.ts'
import { resolveStartOptions, type StartOptions, wrong } from './options.ts'
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

  let command = findExecutable('redis-server')
  if (!command && canInstall()) {
    await installPackages(['redis-server'], resolved)
    command = findExecutable('redis-server')
  }
  if (!command) throw missing('Redis', redisVariable, 'redis-server')
  const program = command
  const account = unprivilegedAccount()
  const all = { bind: '127.0.0.1', databases: '64', save: '', appendonly: durable ? 'yes' : 'no', ...settings }
  return launch(
    {
      name: 'redis',
      origin: `machine (${program})`,
      account,
      stopSignal: 'SIGTERM',
      prepare: () => {},
      programs: ({ folder, port, env }) => [
        {
          command: program,
          args: ['--port', String(port), '--dir', folder, ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value])],
          env,
          cwd: folder,
          account,
        },
      ],
      url: ({ port }) => `redis://127.0.0.1:${port}`,
      probe: redisVersion,
    },
    resolved,
  )
}

export async function redisVersion(url: string): Promise<string> {
  const info = await redisCommand(url, 'INFO', 'server')
  return /redis_version:(\S+)/.exec(String(info))?.[1] ?? ''
}
