import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { pause, settlesWithin } from '@platform/kernel'
import { portOf } from '../listen.ts'

export interface Launch {
  /** `{{port}}` in it is the port to listen on; so is the variable. */
  readonly command: readonly string[]
  readonly portVariable: string
  /** Ready when this answers with less than 500. */
  readonly readyPath: string
  readonly startTimeoutMs: number
  readonly gracePeriodMs: number
}

/** How an instance went. */
export interface Departure {
  /** From SIGTERM to the end of the process. */
  readonly exitMs: number
  /** From SIGTERM until the port refused. */
  readonly openMs: number
  readonly code: number | null
  /** `SIGKILL` when it outlived the grace period. */
  readonly signal: NodeJS.Signals | null
  /** What the service itself says in its log: a line of JSON with `phases`. */
  readonly phases: readonly { readonly name: string; readonly durationMs: number }[]
}

export interface Instance {
  readonly port: number
  /** Sends SIGTERM and resolves when the process has ended, which it has at the end of the grace period. */
  leave(): Promise<Departure>
  kill(): void
}

const pollMs = 25
const keptLines = 20

/** Resolves when the instance is ready; rejects with its last lines when it is not in time, or ends. */
export async function startInstance(launch: Launch): Promise<Instance> {
  const { portVariable, readyPath, startTimeoutMs, gracePeriodMs } = launch
  const port = await freePort()
  const [program = '', ...args] = launch.command.map((part) => part.replaceAll('{{port}}', String(port)))
  const child = spawn(program, args, { env: { ...process.env, [portVariable]: String(port) }, stdio: ['ignore', 'pipe', 'pipe'] })
  // Whoever ends the proof ends what it started.
  const end = (): void => void child.kill('SIGKILL')
  process.once('exit', end)
  child.once('exit', () => process.removeListener('exit', end))
  const lines: string[] = []
  let phases: Departure['phases'] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      phases = phasesIn(line) ?? phases
      lines.push(line)
      if (lines.length > keptLines) lines.shift()
    })
  }
  const said = (): string => (lines.length === 0 ? 'it said nothing' : `its last lines:\n${lines.join('\n')}`)
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  let hasEnded = false
  ended.then(
    () => (hasEnded = true),
    () => (hasEnded = true),
  )

  const until = performance.now() + startTimeoutMs
  while (!(await answers(port, readyPath))) {
    if (hasEnded) throw new Error(`${program} ended with ${(await ended).code} before it was ready; ${said()}`)
    if (performance.now() > until) {
      child.kill('SIGKILL')
      throw new Error(`${program} did not answer on port ${port} within ${startTimeoutMs} ms; ${said()}`)
    }
    await pause(pollMs)
  }

  return {
    port,
    async leave() {
      const from = performance.now()
      child.kill('SIGTERM')
      const closed = untilRefused(port).then(() => performance.now() - from)
      if (!(await settlesWithin(ended, gracePeriodMs))) child.kill('SIGKILL')
      const { code, signal } = await ended
      return { exitMs: performance.now() - from, openMs: await closed, code, signal, phases }
    },
    kill: end,
  }
}

function phasesIn(line: string): Departure['phases'] | undefined {
  if (!line.includes('"phases"')) return undefined
  try {
    const { phases } = JSON.parse(line) as { phases?: unknown }
    const isPhase = (phase: unknown): phase is Departure['phases'][number] =>
      typeof (phase as { name?: unknown } | null)?.name === 'string' && typeof (phase as { durationMs?: unknown }).durationMs === 'number'
    return Array.isArray(phases) && phases.every(isPhase) ? phases : undefined
  } catch {
    return undefined
  }
}

function answers(port: number, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const outgoing = httpRequest({ host: '127.0.0.1', port, path, agent: false, timeout: 1_000 }, (response) => {
      response.resume().on('close', () => resolve((response.statusCode ?? 500) < 500))
    })
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', () => resolve(false)).end()
  })
}

/** Asks with bare connections: they are no requests. */
async function untilRefused(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (!isOpen) return
    await pause(pollMs)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server) as number
  server.close()
  await once(server, 'close')
  return port
}
