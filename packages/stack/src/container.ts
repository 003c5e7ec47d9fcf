import { execFile, spawnSync } from 'node:child_process'
import { pause } from '@platform/kernel'
import type { Program } from './program.ts'

/** What the engine's client, an attached program of ours, runs. */
export interface Container {
  name: string
  /** Holds the data over `kill` and `restart`; goes with the supervisor. */
  volume?: string | undefined
}

export type ContainerProgram = Program & { container: Container }

const callTimeoutMs = 30_000
const removalTimeoutMs = 60_000
const removalIntervalMs = 100

export function isContainer(program: Program): program is ContainerProgram {
  return program.container !== undefined
}

/** True when the engine did it. */
export function callEngine({ command, env }: Program, args: string[]): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(command, args, { env, cwd: '/', timeout: callTimeoutMs }, (error) => resolve(error === null))
  })
}

export function callEngineNow({ command, env }: Program, args: string[]): boolean {
  return spawnSync(command, args, { env, cwd: '/', timeout: callTimeoutMs, stdio: 'ignore' }).status === 0
}

/**
 * Kills and removes the container. Asked again until the client has ended as well: while it lives the engine may still be creating what it
 * asked for, and whoever is asked only once is asked too early.
 */
export async function removeContainer(program: ContainerProgram, clientEnded: () => boolean): Promise<void> {
  const { name } = program.container
  const giveUpAt = performance.now() + removalTimeoutMs
  do {
    await callEngine(program, ['rm', '--force', '--volumes', name])
    const gone = !(await callEngine(program, ['container', 'inspect', name]))
    if (gone && clientEnded()) return
    await pause(removalIntervalMs)
  } while (performance.now() < giveUpAt)
}

export async function removeVolume(program: ContainerProgram): Promise<void> {
  const { volume } = program.container
  if (volume !== undefined) await callEngine(program, ['volume', 'rm', '--force', volume])
}
