import { randomBytes } from 'node:crypto'
import { copyFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Exit, type Running, supervise, type Supervision } from '@platform/stack'

/** A program of the store: one process of one service. */
export interface ServiceSpec {
  readonly name: string
  readonly instance: number
  readonly adminPort: number
  readonly env: Readonly<Record<string, string>>
}

export interface Services {
  /** Runs the `migrate` program of a service to its end. */
  migrate(spec: ServiceSpec): Promise<void>
  /** Resolves when the service says that it is ready. */
  start(spec: ServiceSpec): Promise<void>
  kill(spec: ServiceSpec): Promise<void>
  /** Asks it to leave, ends it when it takes long, starts it again; resolves when it is ready, rejects when it ends or the signal aborts. */
  restart(spec: ServiceSpec, signal: AbortSignal): Promise<void>
  /** Resolves when the process that runs now has ended; at once when none does. */
  ended(spec: ServiceSpec): Promise<Exit | undefined>
  /** SIGTERM to all, in the given order; rejects when one does not leave by itself with code 0. */
  stop(order: readonly string[]): Promise<void>
  /** Ends whatever still runs, at once. */
  end(): Promise<void>
  /** What all services write; gone after `end()`. */
  readonly logFile: string
  /** Where `end()` leaves the log: it is kept when a service failed, or when this is called. */
  keepLog(): string
}

/** How a service is run: what `pnpm build` made, or its source. Without a folder of its own it runs in an empty one. */
export type Launcher = (service: string, program: 'main' | 'migrate') => { args: string[]; cwd?: string }

export const builtCode: Launcher = (service, program) => ({ args: [join(packageFolder(service), 'dist', `${program}.js`)] })

const readyWithinMs = 60_000
const leavesWithinMs = 40_000
/** Whoever waits for an edit to take effect does not wait for the last request of before. */
const leavesForRestartWithinMs = 5_000

export function packageFolder(service: string): string {
  return dirname(fileURLToPath(import.meta.resolve(`@film-store/${service}/package.json`)))
}

/** Whoever names a collector gets the traces and lines of all services there. */
function collector(): Record<string, string> {
  const named = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[0].startsWith('OTEL_') && entry[1] !== undefined,
  )
  return Object.fromEntries(named)
}

export async function createServices(launcher: Launcher): Promise<Services> {
  const folder = join(tmpdir(), `film-store-${randomBytes(6).toString('hex')}`)
  const logFile = join(folder, 'services.log')
  const keptLogFile = `${folder}.log`
  const supervision: Supervision = supervise(folder, logFile)
  supervision.hold()
  const running = new Map<ServiceSpec, Running>()

  const launch = (spec: ServiceSpec, program: 'main' | 'migrate') =>
    supervision.run({
      command: process.execPath,
      cwd: folder,
      ...launcher(spec.name, program),
      env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production', ...collector(), ...spec.env },
      lastSignal: 'SIGTERM',
    })
  let logKept = false
  const keepLog = () => {
    logKept = true
    return keptLogFile
  }
  const failed = (what: string) => new Error(`${what}; the log is in ${keepLog()}`)
  const startReady = async (spec: ServiceSpec, signal?: AbortSignal) => {
    const started = await launch(spec, 'main')
    running.set(spec, started)
    const deadline = performance.now() + readyWithinMs
    for (;;) {
      const ready = await isReady(spec.adminPort)
      signal?.throwIfAborted()
      // Asked for after the answer: a service that died of a taken port is not the one that answers there.
      if (started.exit) throw new Error(`${called(spec)} ended while starting (${started.exit.signal ?? `code ${started.exit.code}`})`)
      if (ready) return
      if (performance.now() > deadline) throw new Error(`${called(spec)} is not ready after ${readyWithinMs / 1000} s`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  return {
    logFile,
    keepLog,
    async migrate(spec) {
      const { code, signal } = await (await launch(spec, 'migrate')).exited
      if (code !== 0) throw failed(`${called(spec)} could not migrate its database (${signal ?? `code ${code}`})`)
    },
    async start(spec) {
      await startReady(spec).catch((error: Error) => {
        throw failed(error.message)
      })
    },
    async restart(spec, signal) {
      const before = running.get(spec)
      if (before && !before.exit) {
        process.kill(before.pid, 'SIGTERM')
        await Promise.race([before.exited, late(leavesForRestartWithinMs)])
        if (!before.exit) process.kill(before.pid, 'SIGKILL')
        await before.exited
      }
      signal.throwIfAborted()
      await startReady(spec, signal)
    },
    ended: (spec) => running.get(spec)?.exited ?? Promise.resolve(undefined),
    async kill(spec) {
      const { pid, exited } = running.get(spec)!
      process.kill(pid, 'SIGKILL')
      await exited
      running.delete(spec)
    },
    async stop(order) {
      const unclean: string[] = []
      for (const name of order) {
        const leaving = [...running].filter(([spec]) => spec.name === name)
        await Promise.all(
          leaving.map(async ([spec, { pid, exited, exit }]) => {
            if (!exit) process.kill(pid, 'SIGTERM')
            const { code, signal } = await Promise.race([exited, late(leavesWithinMs)])
            if (code !== 0) unclean.push(`${called(spec)} left with ${signal ?? `code ${code}`}`)
            running.delete(spec)
          }),
        )
      }
      if (unclean.length > 0) throw failed(unclean.join(', '))
    },
    async end() {
      if (logKept) await copyFile(logFile, keptLogFile)
      await supervision.end()
      supervision.release()
    },
  }
}

export const called = ({ name, instance }: Pick<ServiceSpec, 'name' | 'instance'>): string => `${name} ${instance}`

/** A page of the admin listener, as those may see it who have its token. */
export function askAdmin({ adminPort }: Pick<ServiceSpec, 'adminPort'>, path: string, token: string | undefined): Promise<Response> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return fetch(`http://127.0.0.1:${adminPort}${path}`, { headers, signal: AbortSignal.timeout(5_000) })
}

/** Whether the instance whose probes are at this port takes work. */
export async function isReady(adminPort: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${adminPort}/ready`, { signal: AbortSignal.timeout(2_000) })
    await answer.body?.cancel()
    return answer.ok
  } catch {
    return false
  }
}

function late(ms: number): Promise<{ code: null; signal: string }> {
  return new Promise((resolve) => {
    setTimeout(() => resolve({ code: null, signal: `no exit within ${ms / 1000} s` }), ms).unref()
  })
}
