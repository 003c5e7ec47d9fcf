import type { Account } from './account.ts'
import type { Container } from './container.ts'

/** A program to run under the supervisor. Its output goes to the log; it leads a session and a process group of its own. */
export interface Program {
  command: string
  args: string[]
  /** The whole environment; nothing is inherited. */
  env: Record<string, string>
  cwd: string
  account?: Account | undefined
  /** Sent before SIGKILL when the owner is gone: a server that leaves shared memory behind gets a moment to remove it. */
  lastSignal?: NodeJS.Signals | undefined
  /** Set when the program is the attached client of a container engine: ending it means removing this container. */
  container?: Container | undefined
}

export interface Exit {
  code: number | null
  signal: string | null
}

/** From the owner to the supervisor, one JSON line each. The end of the stream means: end everything and remove the folder. */
export interface StartCommand {
  id: number
  program: Program
}

/** From the supervisor to the owner, one JSON line each. */
export type SupervisorEvent =
  | { id: number; event: 'started'; pid: number }
  | { id: number; event: 'failed'; message: string }
  | ({ id: number; event: 'exited' } & Exit)
