import { callEngine, callEngineNow, type ContainerProgram, isContainer, removeContainer } from './container.ts'
import { killTree, processTree, signalTree } from './process-tree.ts'
import type { Program } from './program.ts'
import type { Running } from './supervision.ts'

/** What can be done to a running program, be it a tree of processes or a container. */
export interface Grip {
  readonly running: Running
  signal(signal: NodeJS.Signals): Promise<void>
  freeze(): void
  thaw(): void
  /** Resolves when nothing of it is alive. */
  kill(): Promise<void>
  /** Sends `signal`, to a frozen one too, and kills it when `endsCleanly` says false. */
  end(signal: NodeJS.Signals, endsCleanly: () => Promise<boolean>): Promise<void>
}

export function grip(program: Program, running: Running): Grip {
  return isContainer(program) ? containerGrip(program, running) : processGrip(running)
}

function processGrip(running: Running): Grip {
  const { pid, exited } = running
  const signal = async (name: NodeJS.Signals) => {
    try {
      process.kill(pid, name)
    } catch {
      // gone meanwhile
    }
  }
  return {
    running,
    signal,
    freeze: () => signalTree(pid, 'SIGSTOP'),
    thaw: () => signalTree(pid, 'SIGCONT'),
    async kill() {
      await killTree(pid)
      await exited
    },
    async end(name, endsCleanly) {
      const known = processTree(pid)
      signalTree(pid, 'SIGCONT')
      await signal(name)
      const clean = await endsCleanly()
      await killTree(pid, clean ? known.filter((each) => each !== pid) : known)
      await exited
    },
  }
}

function containerGrip(program: ContainerProgram, running: Running): Grip {
  const { name } = program.container
  let frozen = false
  const thaw = () => {
    if (frozen) callEngineNow(program, ['unpause', name])
    frozen = false
  }
  const signal = async (what: NodeJS.Signals) => void (await callEngine(program, ['kill', `--signal=${what}`, name]))
  const kill = async () => {
    await removeContainer(program, () => running.exit !== undefined)
    await running.exited
  }
  return {
    running,
    signal,
    freeze() {
      frozen = callEngineNow(program, ['pause', name]) || frozen
    },
    thaw,
    kill,
    async end(what, endsCleanly) {
      thaw()
      await signal(what)
      if (await endsCleanly()) await running.exited
      else await kill()
    },
  }
}
