import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isContainer, type ContainerProgram, removeContainer, removeVolume } from './container.ts'
import { StackError } from './errors.ts'
import { isAlive, killTree } from './process-tree.ts'
import type { Exit, Program, SupervisorEvent } from './program.ts'
import { ownerVariable, runId, runVariable } from './run.ts'

export interface Running {
  readonly pid: number
  readonly exit: Exit | undefined
  readonly exited: Promise<Exit>
}

/** The owner's end of a supervisor: whatever runs under it ends with this process, and its folder goes. */
export interface Supervision {
  /** Rejects when the program cannot be started at all. */
  run(program: Program): Promise<Running>
  /** Ends what still runs, removes the folder; resolves when nothing is left. */
  end(): Promise<void>
  /** Between `hold` and `release` the supervisor keeps this process alive; otherwise it does not. */
  hold(): void
  release(): void
}

interface Entry {
  program: Program
  pid: number
  exit: Exit | undefined
  started: PromiseWithResolvers<Running>
  exited: PromiseWithResolvers<Exit>
}

/** What every program under a supervisor, and the supervisor itself, finds in its environment, so that it can be found by it. */
function marks(): Record<string, string> {
  return { [runVariable]: runId(), [ownerVariable]: String(process.pid) }
}

/** What servers need of this process's environment. */
export function serverEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/bin:/bin', TZ: 'UTC' }
}

/** `folder` must exist and is removed in the end; `logFile` takes the output of every program. */
export function supervise(folder: string, logFile: string): Supervision {
  const child = startSupervisor(folder, logFile)
  const entries = new Map<number, Entry>()
  let nextId = 1
  let holds = 0
  let over = false
  const volumes = new Map<string, ContainerProgram>()

  const settle = (id: number, entry: Entry, exit: Exit) => {
    entry.exit = exit
    entries.delete(id)
    entry.exited.resolve(exit)
  }
  const onEvent = (event: SupervisorEvent) => {
    const entry = entries.get(event.id)
    if (!entry) return
    if (event.event === 'started') {
      entry.pid = event.pid
      entry.started.resolve({
        pid: event.pid,
        exited: entry.exited.promise,
        get exit() {
          return entry.exit
        },
      })
    } else if (event.event === 'failed') {
      entries.delete(event.id)
      entry.started.reject(new StackError('ERR_STACK_DIED', event.message))
    } else {
      settle(event.id, entry, { code: event.code, signal: event.signal })
    }
  }
  createInterface({ input: child.stdout }).on('line', (line) => onEvent(JSON.parse(line) as SupervisorEvent))

  const finish = async () => {
    over = true
    // Only a supervisor that was killed itself leaves programs running.
    for (const [id, entry] of entries) {
      if (isContainer(entry.program)) await removeContainer(entry.program, () => entry.pid === 0 || !isAlive(entry.pid))
      if (entry.pid > 0) await killTree(entry.pid)
      else entry.started.reject(new StackError('ERR_STACK_STOPPED', 'its supervisor ended'))
      settle(id, entry, { code: null, signal: 'SIGKILL' })
    }
    await Promise.all([...volumes.values()].map(removeVolume))
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  }).then(finish)
  gone.catch(() => {}) // `end` reports it

  const setHold = (change: 1 | -1) => {
    holds += change
    const verb = holds > 0 ? 'ref' : 'unref'
    child[verb]()
    ;(child.stdin as Socket)[verb]()
    ;(child.stdout as Socket)[verb]()
  }

  return {
    async run(program) {
      if (over) throw new StackError('ERR_STACK_STOPPED', 'its supervisor ended')
      if (program.container?.volume !== undefined && isContainer(program)) volumes.set(program.container.volume, program)
      const entry: Entry = { program, pid: 0, exit: undefined, started: Promise.withResolvers(), exited: Promise.withResolvers() }
      const id = nextId++
      entries.set(id, entry)
      child.stdin.write(`${JSON.stringify({ id, program: { ...program, env: { ...program.env, ...marks() } } })}\n`)
      return entry.started.promise
    },
    async end() {
      setHold(1)
      child.stdin.end()
      await gone
      setHold(-1)
    },
    hold: () => setHold(1),
    release: () => setHold(-1),
  }
}

type SupervisorProcess = ChildProcess & { stdin: NonNullable<ChildProcess['stdin']>; stdout: NonNullable<ChildProcess['stdout']> }

function startSupervisor(folder: string, logFile: string): SupervisorProcess {
  const name = import.meta.url.endsWith('.ts') ? './supervisor.ts' : './supervisor.js'
  const child = spawn(process.execPath, [fileURLToPath(new URL(name, import.meta.url)), folder, logFile], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...serverEnvironment(), ...marks() },
  })
  child.stdin.on('error', () => {}) // a supervisor that is gone is noticed by its exit
  return child
}
