import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { createInterface } from 'node:readline'
import { pause, settlesWithin, withDeadline } from '@platform/kernel'
import { socketsOf } from './compile/gateway-config.ts'
import { GatewayError } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'

const pollMs = 20
const startTimeoutMs = 15_000
const testTimeoutMs = 60_000
const askTimeoutMs = 2_000
const lastLines = 20

export interface NginxState {
  readonly version: string
  readonly generation: string
}

/**
 * The nginx of one folder. It outlives this process if that is killed: the next one finds it by its pid and its socket and goes on with it.
 * Whether it runs is asked of it, not remembered.
 */
export class NginxProcess {
  readonly #program: string
  readonly #folder: string
  readonly #logger: LoggerLike
  #child: ChildProcess | undefined

  constructor({ program, folder, logger }: { program: string; folder: string; logger: LoggerLike }) {
    this.#program = program
    this.#folder = folder
    this.#logger = logger
  }

  /** As `nginx -v` says. */
  async version(): Promise<string> {
    const { output } = await this.#run(['-v'])
    const version = /nginx\/(\d+\.\d+\.\d+)/.exec(output)?.[1]
    if (version === undefined) throw new GatewayError('ERR_GATEWAY_NGINX', `${this.#program} does not say its version as nginx does`)
    return version
  }

  /** Rejects with what `nginx -t` says against the file. */
  async test(file: string): Promise<void> {
    const { code, output } = await this.#run(['-t', '-q', '-p', this.#folder, '-c', file])
    if (code !== 0)
      throw new GatewayError('ERR_GATEWAY_NGINX', `nginx refuses the configuration: ${output.trim().split('\n').slice(-5).join(' | ')}`)
  }

  /** Undefined while none answers in this folder. */
  async state(): Promise<NginxState | undefined> {
    const text = await ask(socketsOf(this.#folder).state, '/')
    const [version = '', generation = ''] = text?.split(' ') ?? []
    return text === undefined ? undefined : { version, generation }
  }

  /** Whether its process is there, answering or not. */
  isThere(): boolean {
    return this.#pid() !== undefined
  }

  /** Client connections; undefined while nginx does not answer. */
  async connections(): Promise<number | undefined> {
    const text = await ask(socketsOf(this.#folder).state, '/connections')
    const active = /Active connections: (\d+)/.exec(text ?? '')?.[1]
    return active === undefined ? undefined : Math.max(0, Number(active) - 1)
  }

  /** Makes the file the one in force, in a running nginx or a new one, and resolves when workers answer that have this generation. */
  async take(file: string, generation: string): Promise<void> {
    const pid = this.#pid()
    if (pid === undefined) {
      await this.#endLeftWorkers()
      this.#start(file)
    } else process.kill(pid, 'SIGHUP')
    const late = (): Error =>
      new GatewayError(
        'ERR_GATEWAY_NOT_TAKEN',
        `nginx did not serve the new configuration within ${startTimeoutMs} ms; its own log says why`,
      )
    await withDeadline(startTimeoutMs, late, async (signal) => {
      while ((await this.state())?.generation !== generation) {
        if (pid === undefined && this.#child === undefined)
          throw new GatewayError('ERR_GATEWAY_NGINX', 'nginx ended at its start; its own log says why')
        await pause(pollMs, signal)
      }
    })
  }

  /** It and all its workers, the leaving ones too, begin new files under the old names. */
  reopenLogs(): void {
    const pid = this.#pid()
    if (pid !== undefined) signalTo(pid, 'SIGUSR1')
  }

  /** Lets answers under way end, for so long. */
  async stop(timeoutMs: number): Promise<void> {
    const pid = this.#pid()
    if (pid === undefined) return this.#endLeftWorkers()
    const gone = (async () => {
      while (isAlive(pid)) await pause(pollMs)
    })()
    signalTo(pid, 'SIGQUIT')
    if (await settlesWithin(gone, timeoutMs)) return
    signalTo(pid, 'SIGTERM')
    if (await settlesWithin(gone, 2_000)) return
    signalTo(pid, 'SIGKILL')
    await gone
    await this.#endLeftWorkers()
  }

  /** Workers live on without a master that was killed: they answer by an old configuration, and the port stays theirs. */
  async #endLeftWorkers(): Promise<void> {
    const master = this.#recordedPid()
    if (master === undefined || isAlive(master)) return
    const left = groupOf(master).filter(isNginx)
    if (left.length === 0) return
    this.#logger.warn({ pids: left }, 'nginx was killed; its workers are ended')
    const gone = (async () => {
      while (left.some(isAlive)) await pause(pollMs)
    })()
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      for (const pid of left) signalTo(pid, signal)
      if (await settlesWithin(gone, 2_000)) return
    }
  }

  #start(file: string): void {
    const { state, sentinel } = socketsOf(this.#folder)
    // One that was killed leaves them.
    for (const socket of [state, sentinel]) rmSync(socket, { force: true })
    // Its own process group, by which its workers are known when it is gone.
    const child = spawn(this.#program, ['-p', this.#folder, '-c', file], { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
    this.#child = child
    child.once('error', (error) => {
      this.#logger.error({ reason: error.message }, 'nginx cannot be started')
      this.#child = undefined
    })
    child.once('exit', (code, signal) => {
      this.#logger.warn({ code, signal }, 'nginx has ended')
      if (this.#child === child) this.#child = undefined
    })
    createInterface({ input: child.stderr }).on('line', (line) => this.#logger.warn({ line: line.slice(0, 2_000) }, 'nginx says'))
  }

  #pid(): number | undefined {
    if (this.#child?.pid !== undefined && this.#child.exitCode === null) return this.#child.pid
    const pid = this.#recordedPid()
    return pid !== undefined && isAlive(pid) && isNginx(pid) ? pid : undefined
  }

  /** Of the nginx that ran in this folder last, whether it lives or not. */
  #recordedPid(): number | undefined {
    try {
      const pid = Number(readFileSync(`${this.#folder}/nginx.pid`, 'utf8'))
      return Number.isInteger(pid) && pid > 1 ? pid : undefined
    } catch {
      return undefined
    }
  }

  async #run(args: string[]): Promise<{ code: number | null; output: string }> {
    const child = spawn(this.#program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const lines: string[] = []
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.push(line.slice(0, 2_000))
      if (lines.length > lastLines) lines.shift()
    })
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', (cause) => reject(new GatewayError('ERR_GATEWAY_NGINX', `${this.#program} cannot be run`, { cause })))
      child.once('close', (code) => resolve(code))
    })
    const late = (): Error => {
      child.kill('SIGKILL')
      return new GatewayError('ERR_GATEWAY_NGINX', `nginx ${args[0]} did not end within ${testTimeoutMs} ms`)
    }
    return { code: await withDeadline(testTimeoutMs, late, () => ended), output: lines.join('\n') }
  }
}

function ask(socketPath: string, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const outgoing = request({ socketPath, path, agent: false, timeout: askTimeoutMs })
    outgoing.once('timeout', () => void outgoing.destroy())
    outgoing.once('error', () => resolve(undefined))
    outgoing.once('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (piece: string) => (text += piece))
      response.once('close', () => resolve(response.complete ? text : undefined))
    })
    outgoing.end()
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch {
    return false
  }
}

/** An ended child of somebody who does not ask for its end. */
function isZombie(pid: number): boolean {
  return procFile(pid, 'stat')
    .replace(/^.*\) /, '')
    .startsWith('Z')
}

/** The members of a process group, as /proc tells them: none where there is no /proc. */
function groupOf(leader: number): number[] {
  let entries: string[]
  try {
    entries = readdirSync('/proc')
  } catch {
    return []
  }
  return entries
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(
      (pid) =>
        procFile(pid, 'stat')
          .replace(/^.*\) /, '')
          .split(' ')[2] === String(leader),
    )
}

/** A pid is used again: one of another program is not signalled. Where there is no /proc, the answering socket must do. */
function isNginx(pid: number): boolean {
  const line = procFile(pid, 'cmdline')
  return line === '' || line.includes('nginx')
}

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has just gone.
  }
}
