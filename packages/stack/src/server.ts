import { withDeadline } from '@platform/kernel'
import { checkUrl, endpointOf } from './endpoint.ts'
import { StackError } from './errors.ts'
import { type ResolvedStartOptions, wrong } from './options.ts'

export type ServerName = 'postgres' | 'redis' | 'rabbitmq' | 'consul' | 'nginx'

/** A running server, ours to break unless it comes from the environment. */
export interface Server extends AsyncDisposable {
  readonly name: ServerName
  /** With credentials. Stays the same for the handle's whole life. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** As the server itself says. */
  readonly version: string
  /** Where the programs come from, in words: `environment (PLATFORM_REDIS_URL)`, `machine (/usr/bin/redis-server)`, `container (redis:8)` … */
  readonly origin: string
  /** The main process, for a container the client that is attached to it; changes with `restart()`; undefined for a server from the environment and while it is down. */
  readonly pid: number | undefined
  /** Exists until `stop()`; undefined for a server from the environment. */
  readonly logFile: string | undefined
  /** Everything that the server has written so far. Fails with `ERR_STACK_NOT_OWNED` for a server from the environment. */
  log(): string
  /** Ends the server cleanly, killing it after `stopTimeoutMs`, and removes its folder and log. Harmless when repeated, no-op for a server from the environment. */
  stop(): Promise<void>
  /** SIGKILL to every process of the server, a container is removed; its data stays for `restart()`. */
  kill(): Promise<void>
  /** SIGSTOP to every process of the server (a container is paused): connections stay open and nothing answers. */
  freeze(): void
  thaw(): void
  /** Ends the server if it runs and starts it again on the same port and data; resolves when it answers. */
  restart(): Promise<void>
}

/** How a server of the environment is reached and asked. */
export interface Lender {
  name: ServerName
  variable: string
  protocols: readonly string[]
  defaultPort: number
  askVersion: (url: string) => Promise<string>
  /** Options that only a server of one's own can honour, and whether they were asked for. */
  asked: Record<string, boolean>
}

/** The server that the environment names, unless one of one's own is wanted. */
export function environmentUrl(variable: string, { fresh }: ResolvedStartOptions): string | undefined {
  return fresh ? undefined : process.env[variable] || undefined
}

/** A server somebody else runs: its address comes from an environment variable. */
export async function borrowServer(url: string, lender: Lender, options: ResolvedStartOptions): Promise<Server> {
  const { name, variable, protocols, defaultPort, askVersion } = lender
  checkUrl(variable, url, protocols)
  const { host, port } = endpointOf(url, defaultPort)
  const asked = { port: options.port !== undefined, source: options.source !== undefined, ...lender.asked }
  for (const [option, wanted] of Object.entries(asked)) {
    if (wanted) throw wrong(option, `cannot be honoured by the server of ${variable}: pass { fresh: true } to own one`)
  }
  const unreachable = (cause?: unknown) =>
    new StackError('ERR_STACK_UNREACHABLE', `${name}: the server of ${variable} does not answer at ${host}:${port}`, { cause })
  const refuse = (what: string) =>
    new StackError('ERR_STACK_NOT_OWNED', `cannot ${what} the server of ${variable}: pass { fresh: true } to own one`)
  const ask = async () => {
    try {
      return await askVersion(url)
    } catch (cause) {
      throw unreachable(cause)
    }
  }
  const version = await withDeadline(options.startTimeoutMs, unreachable, ask, options.signal)
  const stop = async () => {}
  return {
    name,
    url,
    host,
    port,
    version,
    origin: `environment (${variable})`,
    pid: undefined,
    logFile: undefined,
    log() {
      throw refuse('read the log of')
    },
    stop,
    kill: () => Promise.reject(refuse('kill')),
    freeze() {
      throw refuse('freeze')
    },
    thaw() {
      throw refuse('thaw')
    },
    restart: () => Promise.reject(refuse('restart')),
    [Symbol.asyncDispose]: stop,
  }
}
