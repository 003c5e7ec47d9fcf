import { chownSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { temporaryFolder } from './account.ts'
import { StackError } from './errors.ts'
import { explain } from './explain.ts'
import { type Grip, grip } from './grip.ts'
import type { ResolvedStartOptions } from './options.ts'
import type { Plan, Site } from './plan.ts'
import { portTaken, takenPort } from './ports.ts'
import type { Program } from './program.ts'
import type { Server, ServerName } from './server.ts'
import { type Running, type Supervision, serverEnvironment, supervise } from './supervision.ts'

const probeIntervalMs = 25

/** A server that this process started and owns. */
export class Instance implements Server {
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
  #grips: Grip[] = []
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
      env: serverEnvironment(),
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
    const server = this.#grips.at(-1)?.running
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
      const explained = explain(this, error)
      await this.#supervision.end()
      throw explained
    }
  }

  stop(): Promise<void> {
    const { stopTimeoutMs } = this.#options
    this.#stopping ??= this.#down(Math.min(stopTimeoutMs, this.#plan.partingMs ?? stopTimeoutMs)).then(() => this.#supervision.end())
    return this.#stopping
  }

  async kill(): Promise<void> {
    this.#checkOwned()
    this.#supervision.hold()
    try {
      await Promise.all(this.#alive().map((each) => each.kill()))
    } finally {
      this.#supervision.release()
    }
  }

  freeze(): void {
    this.#checkOwned()
    for (const each of this.#alive()) each.freeze()
  }

  thaw(): void {
    this.#checkOwned()
    for (const each of this.#alive()) each.thaw()
  }

  /** To the main process alone. */
  async signal(name: NodeJS.Signals): Promise<void> {
    this.#checkOwned()
    await this.#alive().at(-1)?.signal(name)
  }

  /** Work on the running server, under the deadline of a start; what goes wrong is explained as there. */
  async during(work: (site: Site, signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#checkOwned()
    try {
      await this.#within((signal) => work(this.#site, signal))
    } catch (error) {
      throw explain(this, error)
    }
  }

  async restart(): Promise<void> {
    this.#checkOwned()
    try {
      await this.#down(this.#options.stopTimeoutMs)
      const taken = await takenPort(this.port, this.#plan.portOffsets)
      if (taken !== undefined) throw portTaken(this.name, taken)
      await this.#within((signal) => this.#up(signal))
    } catch (error) {
      throw explain(this, error)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #checkOwned(): void {
    if (this.#stopping) throw new StackError('ERR_STACK_STOPPED', `${this.name} was stopped`)
  }

  #alive(): Grip[] {
    return this.#grips.filter(({ running }) => !running.exit)
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
    this.#grips = []
    for (const program of this.#plan.programs(this.#site)) this.#grips.push(grip(program, await this.#supervision.run(program)))
    let exited = false
    const died = Promise.race(this.#grips.map(({ running }) => running.exited)).then(() => {
      exited = true
      throw new StackError('ERR_STACK_DIED', 'it ended while starting')
    })
    died.catch(() => {})
    for (;;) {
      signal.throwIfAborted()
      try {
        this.version = await Promise.race([this.#plan.probe(this.url, this.#site), died])
        return
      } catch (error) {
        if (exited) throw error
        await sleep(probeIntervalMs)
      }
    }
  }

  /** Ends the programs in reverse order. */
  async #down(timeoutMs: number): Promise<void> {
    this.#supervision.hold()
    try {
      const server = this.#grips.at(-1)
      for (const each of this.#alive().toReversed()) {
        await each.end(each === server ? this.#plan.stopSignal : 'SIGTERM', () => endsWithin(each.running, timeoutMs))
      }
    } finally {
      this.#supervision.release()
    }
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
}

async function endsWithin(running: Running, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController()
  const late = sleep(timeoutMs, false, { signal: timer.signal }).catch(() => false)
  const clean = await Promise.race([running.exited.then(() => true), late])
  timer.abort()
  return clean
}
