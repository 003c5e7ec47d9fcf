import { randomBytes } from 'node:crypto'
import { chownSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { orAborted, pause, settlesWithin, withDeadline } from '@platform/kernel'
import { temporaryFolder } from './account.ts'
import { onMachine, StackError } from './errors.ts'
import { explain } from './explain.ts'
import { type Grip, grip } from './grip.ts'
import type { ResolvedStartOptions } from './options.ts'
import type { Plan, Site } from './plan.ts'
import { portTaken, saysPortTaken, takenPort } from './ports.ts'
import { isAlive } from './process-tree.ts'
import type { Program } from './program.ts'
import type { Server, ServerName } from './server.ts'
import { type Supervision, serverEnvironment, supervise } from './supervision.ts'

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
  readonly #stopped = new AbortController()
  #grips: Grip[] = []
  /** Where the log of the latest start begins. */
  #logStart = 0
  /** Restarts come one after the other. */
  #lastTurn: Promise<void> = Promise.resolve()
  #stopping: Promise<void> | undefined

  constructor(plan: Plan, options: ResolvedStartOptions, port: number) {
    const folder = join(temporaryFolder(plan), `platform-stack-${plan.name}-${randomBytes(6).toString('hex')}`)
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
    if (plan.account) chownSync(folder, plan.account.uid, plan.account.gid)
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
      const explained = explain(this, await this.#orPortTaken(error))
      await this.#supervision.end()
      throw explained
    }
  }

  stop(): Promise<void> {
    const { stopTimeoutMs } = this.#options
    this.#stopped.abort(stopped(this.name))
    this.#stopping ??= this.#down(Math.min(stopTimeoutMs, this.#plan.partingMs ?? stopTimeoutMs)).then(() => this.#supervision.end())
    return this.#stopping
  }

  log(): string {
    this.#checkOwned()
    return onMachine(`reading the log of ${this.name}`, () => readFileSync(this.logFile, 'utf8'))
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

  restart(): Promise<void> {
    const turn = this.#lastTurn.then(() => this.#restartNow())
    this.#lastTurn = turn.catch(() => {})
    return turn
  }

  async #restartNow(): Promise<void> {
    this.#checkOwned()
    try {
      await this.#down(this.#options.stopTimeoutMs)
      this.#checkOwned()
      const taken = await takenPort(this.port, this.#plan.portOffsets)
      if (taken !== undefined) throw portTaken(this.name, taken)
      await this.#within((signal) => this.#up(signal))
    } catch (error) {
      if (this.#stopping) throw stopped(this.name)
      throw explain(this, await this.#orPortTaken(error))
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  #checkOwned(): void {
    if (this.#stopping) throw stopped(this.name)
  }

  #alive(): Grip[] {
    return this.#grips.filter(({ running }) => !running.exit)
  }

  /** Runs `work` under the start deadline and the caller's signal, keeping this process alive meanwhile; `stop` ends it too. */
  async #within(work: (signal: AbortSignal) => Promise<void>, caller?: AbortSignal): Promise<void> {
    const { startTimeoutMs } = this.#options
    const late = () => new StackError('ERR_STACK_TIMEOUT', `no answer within ${startTimeoutMs} ms`)
    const signal = caller ? AbortSignal.any([caller, this.#stopped.signal]) : this.#stopped.signal
    this.#supervision.hold()
    try {
      await withDeadline(startTimeoutMs, late, work, signal)
    } finally {
      this.#supervision.release()
    }
  }

  /** Starts the programs and waits until the last one answers: itself, and not somebody else at its port. */
  async #up(signal: AbortSignal): Promise<void> {
    this.#grips = []
    this.#logStart = statSync(this.logFile, { throwIfNoEntry: false })?.size ?? 0
    for (const program of this.#plan.programs(this.#site)) {
      signal.throwIfAborted()
      this.#grips.push(grip(program, await this.#supervision.run(program)))
    }
    const death = new AbortController()
    const died = () => death.abort(new StackError('ERR_STACK_DIED', 'it ended while starting'))
    for (const { running } of this.#grips) void running.exited.then(died)
    for (;;) {
      signal.throwIfAborted()
      death.signal.throwIfAborted()
      try {
        const version = await orAborted(this.#plan.probe(this.url, this.#site), death.signal)
        if (this.#grips.every(({ running }) => !running.exit && isAlive(running.pid))) {
          this.version = version
          return
        }
      } catch {
        // not yet, or not ours
      }
      await pause(probeIntervalMs, signal)
    }
  }

  /** A program that ended because somebody else has its port says so, at least in its log. */
  async #orPortTaken(error: unknown): Promise<unknown> {
    if (!StackError.isInstance(error) || error.code !== 'ERR_STACK_DIED') return error
    await Promise.all(this.#alive().map((each) => each.kill())) // what else it runs has ports of its own
    const taken = await takenPort(this.port, this.#plan.portOffsets)
    if (taken === undefined && !saysPortTaken(this.logFile, this.#logStart)) return error
    return portTaken(this.name, taken ?? this.port, error)
  }

  /** Ends the programs in reverse order. */
  async #down(timeoutMs: number): Promise<void> {
    this.#supervision.hold()
    try {
      const server = this.#grips.at(-1)
      for (const each of this.#alive().toReversed()) {
        await each.end(each === server ? this.#plan.stopSignal : 'SIGTERM', () => settlesWithin(each.running.exited, timeoutMs))
      }
    } finally {
      this.#supervision.release()
    }
  }

  #write(name: string, text: string): string {
    const file = join(this.#site.folder, name)
    return onMachine(`writing ${name} of ${this.name}`, () => {
      writeFileSync(file, text, { mode: 0o600 })
      if (this.#plan.account) chownSync(file, this.#plan.account.uid, this.#plan.account.gid)
      return file
    })
  }

  async #runToEnd(program: Program): Promise<void> {
    const { code, signal } = await (await this.#supervision.run(program)).exited
    if (code !== 0) throw new StackError('ERR_STACK_DIED', `${program.command} ended with ${signal ?? `code ${code}`}`)
  }
}

function stopped(name: string): StackError {
  return new StackError('ERR_STACK_STOPPED', `${name} was stopped`)
}
