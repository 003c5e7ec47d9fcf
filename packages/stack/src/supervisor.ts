/**
 * The program that stands between an owner and its servers: `supervisor <folder> <log>`.
 * It leads a session of its own, so that a signal to the owner's terminal does not reach it. Its standard input is a pipe held by the owner
 * alone; the kernel closes it however the owner dies, and then the servers end and the folder goes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { openSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { isContainer, type ContainerProgram, removeContainer, removeVolume } from './container.ts'
import { isAlive, killTree, processTree } from './process-tree.ts'
import type { Program, StartCommand, SupervisorEvent } from './program.ts'

const lastSignalGraceMs = 2_000
const running = new Map<ChildProcess, Program>()
/** The last program on each volume: data stays over a restart. */
const volumes = new Map<string, ContainerProgram>()

function tell(event: SupervisorEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

function start({ id, program }: StartCommand, log: number): void {
  if (program.container?.volume !== undefined && isContainer(program)) volumes.set(program.container.volume, program)
  const child = spawn(program.command, program.args, {
    cwd: program.cwd,
    env: program.env,
    stdio: ['ignore', log, log],
    detached: true,
    ...program.account,
  })
  child.once('spawn', () => {
    running.set(child, program)
    tell({ id, event: 'started', pid: child.pid as number })
  })
  child.once('error', (error) => {
    if (child.pid === undefined) tell({ id, event: 'failed', message: error.message })
  })
  child.once('exit', (code, signal) => void over(child, program).then(() => tell({ id, event: 'exited', code, signal })))
}

/** A container outlives a client that was killed. */
async function over(child: ChildProcess, program: Program): Promise<void> {
  if (isContainer(program)) await removeContainer(program, () => true)
  running.delete(child)
}

async function end(child: ChildProcess, program: Program): Promise<void> {
  const pid = child.pid as number
  if (isContainer(program)) await removeContainer(program, () => child.exitCode !== null || child.signalCode !== null)
  const known = processTree(pid)
  if (program.lastSignal) {
    child.kill(program.lastSignal)
    for (let waited = 0; waited < lastSignalGraceMs && isAlive(pid); waited += 20) await sleep(20)
  }
  await killTree(pid, known)
}

async function endAll(folder: string): Promise<never> {
  await Promise.allSettled([...running].map(([child, program]) => end(child, program)))
  await Promise.allSettled([...volumes.values()].map(removeVolume))
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  process.exit(0)
}

function main([folder, logFile]: string[]): void {
  if (folder === undefined || logFile === undefined) throw new Error('usage: supervisor <folder> <log>')
  process.title = 'platform-stack-supervisor'
  process.chdir('/')
  const log = openSync(logFile, 'a')
  for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
  process.on('SIGTERM', () => void endAll(folder))
  process.stdout.on('error', () => {}) // the owner is gone; the end of standard input says so too
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => start(JSON.parse(line) as StartCommand, log))
  lines.on('close', () => void endAll(folder))
}

main(process.argv.slice(2))
