import { StackError } from './errors.ts'

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

/** A server somebody else runs: its address comes from an environment variable. */
export async function borrowServer(
  name: ServerName,
  variable: string,
  url: string,
  askVersion: (url: string) => Promise<string>,
  defaultPort: number,
): Promise<Server> {
  const { hostname, port } = new URL(url)
  const refuse = (what: string) =>
    new StackError('ERR_STACK_NOT_OWNED', `cannot ${what} the server of ${variable}: pass { fresh: true } to own one`)
  const version = await askVersion(url).catch((cause: unknown) => {
    throw new StackError(
      'ERR_STACK_UNREACHABLE',
      `${name}: the server of ${variable} does not answer at ${hostname}:${port || defaultPort}`,
      { cause },
    )
  })
  const stop = async () => {}
  return {
    name,
    url,
    host: hostname,
    port: Number(port || defaultPort),
    version,
    origin: `environment (${variable})`,
    pid: undefined,
    logFile: undefined,
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
