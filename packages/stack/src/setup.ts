/** Servers for a whole run of tests: the `globalSetup` of vitest, jest and node:test. */
import { knownOptions } from '@platform/kernel'
import { consulVariable, startConsul } from './consul.ts'
import { wrong } from './options.ts'
import { postgresVariable, startPostgres } from './postgres.ts'
import { rabbitmqVariable, startRabbitmq } from './rabbitmq.ts'
import { redisVariable, startRedis } from './redis.ts'
import { runId } from './run.ts'
import type { Server } from './server.ts'

export interface RunOptions {
  /** Whether what is not here may be installed or pulled. Default: whether PLATFORM_STACK_INSTALL is 1. */
  install?: boolean | undefined
  /** Default: the standard error stream. */
  onProgress?: ((line: string) => void) | undefined
}

export interface RunServers {
  /** Starts what the environment does not name, and names it there; resolves with what ends it again. */
  (): Promise<() => Promise<void>>
  /** For runners that take the end from elsewhere. The servers end with the process in any case. */
  stop(): Promise<void>
}

type RunServer = 'postgres' | 'redis' | 'rabbitmq' | 'consul'

const known: Record<RunServer, { variable: string; start: (options: RunOptions) => Promise<Server> }> = {
  postgres: { variable: postgresVariable, start: startPostgres },
  redis: { variable: redisVariable, start: startRedis },
  rabbitmq: { variable: rabbitmqVariable, start: startRabbitmq },
  consul: { variable: consulVariable, start: startConsul },
}

/**
 * `export default runServers(['postgres', 'redis'])`. Test files find the servers by the usual variables, which their processes inherit, and take
 * places of their own on them: `testPostgres()` and the others.
 */
export function runServers(names: readonly RunServer[], options: RunOptions = {}): RunServers {
  knownOptions(wrong, '', options, ['install', 'onProgress'])
  for (const name of names) if (!Object.hasOwn(known, name)) throw wrong('names', `must be of ${Object.keys(known).join(', ')}`)
  const { onProgress = (line: string) => process.stderr.write(`${line}\n`), install } = options
  let started: { server: Server; variable: string }[] = []

  const stop = async () => {
    const ending = started
    started = []
    for (const { variable } of ending) delete process.env[variable]
    await Promise.all(ending.map(({ server }) => server.stop()))
  }
  const start = async () => {
    runId() // inherited by every process of the run
    const starts = names
      .filter((name) => !process.env[known[name].variable])
      .map(async (name) => {
        const server = await known[name].start({ onProgress, install })
        started.push({ server, variable: known[name].variable })
      })
    const failed = (await Promise.allSettled(starts)).find((outcome) => outcome.status === 'rejected')
    if (failed) {
      await stop()
      throw failed.reason
    }
    for (const { server, variable } of started) process.env[variable] = server.url
    return stop
  }
  return Object.assign(start, { stop })
}
