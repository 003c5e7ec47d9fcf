import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { join } from 'node:path'

export interface Child {
  readonly process: ChildProcess
  readonly lines: string[]
  kill(): Promise<void>
}

const running = new Set<Child>()

/** For the end of each test: one that failed would leave its processes behind, and the run would never end. */
export async function endChildren(): Promise<void> {
  await Promise.all([...running].map((child) => child.kill()))
}

/** Runs a file of this folder in a process of its own, from source. */
export function startChild(file: string, ...args: string[]): Child {
  const child = spawn(process.execPath, ['--conditions=@platform/source', join(import.meta.dirname, file), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  const started: Child = {
    process: child,
    lines,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
  running.add(started)
  child.once('exit', () => running.delete(started))
  return started
}
