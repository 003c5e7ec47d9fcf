import { randomBytes } from 'node:crypto'
import { chownSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Account, temporaryFolder } from './account.ts'
import { StackError } from './errors.ts'
import type { ResolvedStartOptions } from './options.ts'
import { freePort, isFree } from './ports.ts'
import { killTree, processTree, signalTree } from './process-tree.ts'
import type { Program } from './program.ts'
import type { Server, ServerName } from './server.ts'
import { markedEnvironment, type Running, type Supervision, supervise } from './supervision.ts'

/** What a plan may count on: an empty folder that the account owns, a free port, and a way to run a program to its end. */
export interface Site {
  folder: string
  port: number
  env: Record<string, string>
  /** Writes a file that only the account may read; returns its path. */
  write: (name: string, text: string) => string
  /** Throws when the program does not end with code 0. */
  runToEnd: (program: Program) => Promise<void>
}

/** How one server is run. */
export interface Plan {
  name: ServerName
  origin: string
  account: Account | undefined
  /** Further ports, as offsets from the main one, that must be free as well. */
  portOffsets?: number[] | undefined
  /** What ends it cleanly. */
  stopSignal: NodeJS.Signals
  /** How long a clean end may take when the data goes anyway. Default: `stopTimeoutMs`. */
  partingMs?: number | undefined
  /** Once, before the first start. */
  prepare(site: Site): Promise<void> | void
  /** Started in this order; the last one is the server. */
  programs(site: Site): Program[]
  url(site: Site): string
  /** Resolves with the version as soon as the server serves; rejects while it does not. Asked again and again. */
  probe(url: string, site: Site): Promise<string>
}

/** Between the draw of a free port and the server's start somebody else may take it; then another one is drawn. */
const portAttempts = 3
const probeIntervalMs = 25

export async function launch(plan: Plan, options: ResolvedStartOptions): Promise<Server> {
  options.signal?.throwIfAborted()
  if (options.port !== undefined) await checkPorts(plan, options.port)
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort(plan.portOffsets))
    const instance = new Instance(plan, options, port)
    try {
      await instance.start()
      return instance
    } catch (error) {
      const lostPort =
        options.port === undefined && StackError.isInstance(error) && error.code === 'ERR_STACK_DIED' && !(await isFree(port))
      if (!lostPort || attempt === portAttempts) throw error
      if (error.logFile) rmSync(error.logFile, { force: true })
    }
  }
}

async function checkPorts(plan: Plan, port: number): Promise<void> {
  for (const wanted of [port, ...(plan.portOffsets ?? []).map((offset) => port + offset)]) {
    if (wanted > 65_535 || !(await isFree(wanted))) {
      throw new StackError('ERR_STACK_PORT_TAKEN', `${plan.name} cannot listen on 127.0.0.1:${wanted}: the port is taken`)
    }
  }
}

class Instance implements Server {
  readonly name: ServerName
  readonly url: string
  readonly host = '127.0.0.1'
  readonly port: number
  readonly origin: string
  readonly logFile: string
  version = ''
  readonly #plan: Plan
  readonly #options: ResolvedStartOptions
  readonly #site: Site
  readonly #supervision: Supervision
  #running: Running[] = []
  #stopping: Promise<void> | undefined

  constructor(plan: Plan, options: ResolvedStartOptions, port: number) {
    const folder = mkdtempSync(join(temporaryFolder(plan.account), `platform-stack-${plan.name}-`))
    if (plan.account) chownSync(folder, plan.account.uid, plan.account.gid)
    this.logFile = join(folder, `${plan.name}.log`)
    this.#plan = plan
    this.#options = options
    this.#site = {
      folder,
      port,
      env: markedEnvironment(),
      write: (name, text) => this.#write(name, text),
      runToEnd: (it) => this.#runToEnd(it),
    }
    this.#supervision = supervise(folder, this.logFile)
    this.name = plan.name
    this.port = port
    this.origin = plan.origin
    this.url = plan.url(this.#site)
  }

  get pid(): number | undefined {
    const server = this.#running.at(-1)
    return server && !server.exit ? server.pid : undefined
  }

  /** Prepares and starts; on failure nothing is left but the log. */
  async start(): Promise<void> {
    try {
      await this.#within(async (signal) => {
        await this.#plan.prepare(this.#site)
        await this.#up(signal)
      }, this.#options.signal)
    } catch (error) {
      const kept = this.#keepLog()
      await this.#dispose()
      throw this.#explain(error, kept)
    }
  }

  stop(): Promise<void> {
    const { stopTimeoutMs } = this.#options
    this.#stopping ??= this.#down(Math.min(stopTimeoutMs, this.#plan.partingMs ?? stopTimeoutMs)).then(() => this.#dispose())
    return this.#stopping
  }

  async kill(): Promise<void> {
    this.#checkOwned()
    this.#supervision.hold()
    try {
      await Promise.all(this.#running.filter((each) => !each.exit).map((each) => killTree(each.pid)))
      await Promise.all(this.#running.map((each) => each.exited))
    } finally {
      this.#supervision.release()
    }
  }

  freeze(): void {
    this.#checkOwned()
    for (const each of this.#running) if (!each.exit) signalTree(each.pid, 'SIGSTOP')
  }

  thaw(): void {
    this.#checkOwned()
    for (const each of this.#running) if (!each.exit) signalTree(each.pid, 'SIGCONT')
  }

  async restart(): Promise<void> {
    this.#checkOwned()
    try {
      await this.#down(this.#options.stopTimeoutMs)
      await this.#within((signal) => this.#up(signal))
    } catch (error) {
      throw this.#explain(error, this.#keepLog())
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #checkOwned(): void {
    if (this.#stopping) throw new StackError('ERR_STACK_STOPPED', `${this.name} was stopped`)
  }

  /** Runs `work` under the start deadline and the caller's signal, keeping this process alive meanwhile. */
  async #within(work: (signal: AbortSignal) => Promise<void>, caller?: AbortSignal): Promise<void> {
    const deadline = new AbortController()
    const { startTimeoutMs } = this.#options
    const timer = setTimeout(
      () => deadline.abort(new StackError('ERR_STACK_TIMEOUT', `no answer within ${startTimeoutMs} ms`)),
      startTimeoutMs,
    )
    const signal = caller ? AbortSignal.any([caller, deadline.signal]) : deadline.signal
    const aborted = Promise.withResolvers<never>()
    const onAbort = () => aborted.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#supervision.hold()
    try {
      await Promise.race([work(signal), aborted.promise])
    } finally {
      this.#supervision.release()
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      // Stops what `work` still does when it lost the race.
      deadline.abort()
    }
  }

  async #up(signal: AbortSignal): Promise<void> {
    this.#running = []
    for (const program of this.#plan.programs(this.#site)) this.#running.push(await this.#supervision.run(program))
    const dead = Promise.race(this.#running.map((each) => each.exited))
    let exited = false
    void dead.then(() => {
      exited = true
    })
    for (;;) {
      signal.throwIfAborted()
      if (exited) throw new StackError('ERR_STACK_DIED', 'ended while starting')
      try {
        this.version = await Promise.race([this.#plan.probe(this.url, this.#site), dead.then(() => Promise.reject(new Error('ended')))])
        return
      } catch {
        await sleep(probeIntervalMs)
      }
    }
  }

  /** Ends the programs in reverse order. */
  async #down(timeoutMs: number): Promise<void> {
    this.#supervision.hold()
    try {
      for (const each of this.#running.toReversed()) {
        if (each.exit) continue
        const known = processTree(each.pid)
        signalTree(each.pid, 'SIGCONT')
        try {
          process.kill(each.pid, each === this.#running.at(-1) ? this.#plan.stopSignal : 'SIGTERM')
        } catch {
          // gone meanwhile
        }
        const clean = await endsWithin(each, timeoutMs)
        await killTree(each.pid, clean ? known.filter((pid) => pid !== each.pid) : known)
        await each.exited
      }
    } finally {
      this.#supervision.release()
    }
  }

  #dispose(): Promise<void> {
    return this.#supervision.end()
  }

  #write(name: string, text: string): string {
    const file = join(this.#site.folder, name)
    writeFileSync(file, text, { mode: 0o600 })
    if (this.#plan.account) chownSync(file, this.#plan.account.uid, this.#plan.account.gid)
    return file
  }

  async #runToEnd(program: Program): Promise<void> {
    const { code, signal } = await (await this.#supervision.run(program)).exited
    if (code !== 0) throw new StackError('ERR_STACK_DIED', `${program.command} ended with ${signal ?? `code ${code}`}`)
  }

  #keepLog(): string | undefined {
    if (!existsSync(this.logFile)) return undefined
    const kept = join(tmpdir(), `platform-stack-${this.name}-${randomBytes(4).toString('hex')}.log`)
    copyFileSync(this.logFile, kept)
    return kept
  }

  #explain(error: unknown, kept: string | undefined): unknown {
    if (!StackError.isInstance(error) || kept === undefined) {
      if (kept !== undefined) rmSync(kept, { force: true })
      return error
    }
    const lastLines = readFileSync(kept, 'utf8').trim().split('\n').slice(-8).join('\n  ')
    return new StackError(error.code, `${this.name} (${this.origin}): ${error.message}; log: ${kept}\n  ${lastLines}`, {
      logFile: kept,
      cause: error,
    })
  }
}

async function endsWithin(running: Running, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController()
  const late = sleep(timeoutMs, false, { signal: timer.signal }).catch(() => false)
  const clean = await Promise.race([running.exited.then(() => true), late])
  timer.abort()
  return clean
}
