/**
 * The program that stands between an owner and its servers: `supervisor <folder> <log> <run> <owner>`.
 * It leads a session of its own, so that a signal to the owner's terminal does not reach it. Its standard input is a pipe held by the owner
 * alone; the kernel closes it however the owner dies, and then the servers end and the folder goes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { openSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { pause } from '@platform/kernel'
import { isContainer, type ContainerProgram, removeContainer, removeVolume } from './container.ts'
import { isAlive, killTree, processTree, startOf } from './process-tree.ts'
import type { Program, StartCommand, SupervisorEvent } from './program.ts'
import { enter, type Identity, leave } from './registry.ts'

const lastSignalGraceMs = 2_000
let log: number | undefined
const running = new Map<ChildProcess, Program>()
/** The last program on each volume: data stays over a restart. */
const volumes = new Map<string, ContainerProgram>()

function tell(event: SupervisorEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

interface Site {
  folder: string
  logFile: string
  run: string
  owner: Identity
}

function start({ id, program }: StartCommand, site: Site): void {
  const failed = (message: string) => tell({ id, event: 'failed', message })
  if (program.container?.volume !== undefined && isContainer(program)) volumes.set(program.container.volume, program)
  const { command, args, cwd, env, account } = program
  let child: ChildProcess
  try {
    // The owner makes the folder once this process is there to remove it.
    log ??= openSync(site.logFile, 'a')
    child = spawn(command, args, { cwd, env, stdio: ['ignore', log, log], detached: true, ...account })
    // Before anything else happens: from here on it is found even if this process and the owner are killed.
    if (child.pid !== undefined) {
      running.set(child, program)
      enter(site.run, { pid: child.pid, start: startOf(child.pid) ?? '', owner: site.owner, command: [command, ...args].join(' ') })
    }
  } catch (error) {
    failed((error as Error).message)
    return
  }
  child.once('spawn', () => tell({ id, event: 'started', pid: child.pid as number }))
  child.once('error', (error) => {
    if (child.pid === undefined) failed(error.message)
  })
  child.once('exit', (code, signal) => void over(child, program, site).then(() => tell({ id, event: 'exited', code, signal })))
}

/** A container outlives a client that was killed. */
async function over(child: ChildProcess, program: Program, site: Site): Promise<void> {
  if (isContainer(program)) await removeContainer(program, () => true)
  running.delete(child)
  leave(site.run, child.pid as number)
}

async function end(child: ChildProcess, program: Program): Promise<void> {
  const pid = child.pid as number
  if (isContainer(program)) await removeContainer(program, () => child.exitCode !== null || child.signalCode !== null)
  const known = processTree(pid)
  if (program.lastSignal) {
    child.kill(program.lastSignal)
    for (let waited = 0; waited < lastSignalGraceMs && isAlive(pid); waited += 20) await pause(20)
  }
  await killTree(pid, known)
}

async function endAll({ folder, run }: Site): Promise<never> {
  const all = [...running]
  await Promise.allSettled(all.map(([child, program]) => end(child, program)))
  await Promise.allSettled([...volumes.values()].map(removeVolume))
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  for (const pid of [...all.map(([child]) => child.pid as number), process.pid]) leave(run, pid)
  process.exit(0)
}

function main([folder, logFile, run, owner]: string[]): void {
  if (folder === undefined || logFile === undefined || run === undefined || owner === undefined) {
    throw new Error('usage: supervisor <folder> <log> <run> <owner>')
  }
  process.title = 'platform-stack-supervisor'
  const site: Site = { folder, logFile, run, owner: JSON.parse(owner) as Identity }
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
  process.on('SIGTERM', () => void endAll(site))
  process.stdout.on('error', () => {}) // the owner is gone; the end of standard input says so too
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => start(JSON.parse(line) as StartCommand, site))
  lines.on('close', () => void endAll(site))
}

main(process.argv.slice(2))
