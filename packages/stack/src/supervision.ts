import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isContainer, type ContainerProgram, removeContainer, removeVolume } from './container.ts'
import { onMachine, StackError } from './errors.ts'
import { isAlive, killTree, startOf } from './process-tree.ts'
import type { Exit, Program, SupervisorEvent } from './program.ts'
import { enter, type Identity, leave } from './registry.ts'
import { runId } from './run.ts'

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

/** What servers need of this process's environment. */
export function serverEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/bin:/bin', TZ: 'UTC' }
}

/**
 * `folder` is made unless it is there, and removed in the end; `logFile` takes the output of every program. A folder that is made here is never
 * left behind: its supervisor is there first.
 */
export function supervise(folder: string, logFile: string): Supervision {
  const run = runId()
  const isThere = existsSync(folder)
  const child = startSupervisor(folder, logFile, run)
  try {
    if (!isThere) onMachine(`making the folder ${folder}`, () => mkdirSync(folder, { mode: 0o700 }))
  } catch (error) {
    child.kill('SIGKILL')
    if (child.pid !== undefined) leave(run, child.pid)
    throw error
  }
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
      if (entry.pid > 0) leave(run, entry.pid)
      settle(id, entry, { code: null, signal: 'SIGKILL' })
    }
    await Promise.all([...volumes.values()].map(removeVolume))
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    if (child.pid !== undefined) leave(run, child.pid)
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
      child.stdin.write(`${JSON.stringify({ id, program })}\n`)
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

function startSupervisor(folder: string, logFile: string, run: string): SupervisorProcess {
  const name = import.meta.url.endsWith('.ts') ? './supervisor.ts' : './supervisor.js'
  const program = fileURLToPath(new URL(name, import.meta.url))
  const owner: Identity = { pid: process.pid, start: startOf(process.pid) ?? '' }
  const args = [program, folder, logFile, run, JSON.stringify(owner)]
  const child = onMachine('starting a supervisor', () =>
    spawn(process.execPath, args, { detached: true, stdio: ['pipe', 'pipe', 'ignore'], env: serverEnvironment(), cwd: '/' }),
  )
  child.stdin.on('error', () => {}) // a supervisor that is gone is noticed by its exit
  if (child.pid !== undefined) enter(run, { pid: child.pid, start: startOf(child.pid) ?? '', owner, command: args.join(' ') })
  return child
}
