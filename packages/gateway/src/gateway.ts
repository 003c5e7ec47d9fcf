import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { backgroundInterval, backgroundTimeout, orAborted, pause } from '@platform/kernel'
import { AccessLog } from './access-log.ts'
import { compileGateway, isAtLeast, socketsOf } from './compile/gateway-config.ts'
import { Control } from './control.ts'
import { dnsSince } from './compile/upstreams.ts'
import { type EndpointSource, dnsEndpoints, firstSets, textEndpoints } from './endpoints.ts'
import { GatewayError, refuseOption } from './errors.ts'
import type { GatewayFile } from './gateway-file.ts'
import { instruments } from './instrumentation.ts'
import { LogFile } from './log-file.ts'
import { NginxProcess } from './nginx-process.ts'
import { type GatewayOptions, type ResolvedGatewayOptions, resolveOptions, workerConnections, workerUser } from './options.ts'
import { readGatewayFile } from './read-file.ts'
import { Verifier } from './verifier/verifier.ts'
import { VerifierServer } from './verifier/verifier-server.ts'

export interface Gateway {
  /** Resolves when nginx serves the file; rejects with what is wrong with it. */
  ready(options?: { signal?: AbortSignal | undefined }): Promise<void>
  /**
   * Reads the file again and makes it the one in force. Whatever is wrong with it, or keeps nginx from serving it, rejects and leaves the old one
   * in force. With `probationMs` the answers are watched for so long: when more of them fail than before, the old file comes back and it rejects.
   */
  apply(options?: { probationMs?: number | undefined }): Promise<void>
  /** As `apply()`, for SIGHUP. */
  reload(): Promise<void>
  check(): Promise<void | { status: 'warn'; message: string }>
  /** Stops nginx, which lets answers under way end within `timeoutMs` (default 5000), then the rest. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Certificates are looked at so often. */
const certificateEveryMs = 10_000
const restartAfterMs = 500
/** The start waits for the first sets of instances, and no longer. */
const firstSetsMs = 3_000
const tallyEveryMs = 200
const fewestAnswers = 20
/** More of the answers may fail than before by this share, before the old file comes back. */
const tolerated = 0.05

/** Starts nothing: `ready()` does. */
export function createGateway(options: GatewayOptions): Gateway {
  return new NginxGateway(resolveOptions(options))
}

type State = 'new' | 'starting' | 'serving' | 'closed'

interface InForce {
  readonly file: GatewayFile
  readonly contents: string
  /** By which the access log tells its answers from those of other files. */
  readonly revision: string
}

class NginxGateway implements Gateway {
  readonly #options: ResolvedGatewayOptions
  readonly #nginx: NginxProcess
  readonly #verifier: Verifier
  readonly #server: VerifierServer
  readonly #log: AccessLog
  readonly #logFile: LogFile
  readonly #control: Control
  readonly #upkeep: NodeJS.Timeout[] = []
  #endpoints: EndpointSource | undefined
  #state: State = 'new'
  #start: Promise<void> | undefined
  #closing: Promise<void> | undefined
  readonly #ending = new AbortController()
  /** Files come into force one after the other, each with its probation. */
  #applying: Promise<unknown> = Promise.resolve()
  /** nginx is told one thing after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  #inForce: InForce | undefined
  #version = ''
  #pending: NodeJS.Timeout | undefined
  /** Instances have changed since the text for nginx was made. */
  #behind = false
  #tookAt = Number.NEGATIVE_INFINITY

  constructor(options: ResolvedGatewayOptions) {
    const { nginx, folder, logger, audit, redis } = options
    this.#options = options
    this.#nginx = new NginxProcess({ program: nginx, folder, logger })
    this.#verifier = new Verifier({ redis, logger })
    this.#server = new VerifierServer((question) => this.#verifier.decide(question), logger)
    this.#log = new AccessLog(logger, audit)
    this.#logFile = new LogFile({ folder, onLines: (text) => this.#log.take(text), reopen: () => this.#nginx.reopenLogs(), logger })
    this.#control = new Control((applying) => this.apply(applying))
  }

  async ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (this.#state === 'closed') throw new GatewayError('ERR_GATEWAY_CLOSED')
    this.#start ??= this.#begin()
    await orAborted(this.#start, signal)
  }

  async apply({ probationMs = 0 }: { probationMs?: number | undefined } = {}): Promise<void> {
    await this.ready()
    const applied = this.#applying.then(() => this.#apply(probationMs))
    this.#applying = applied.catch(() => {})
    await applied
  }

  reload(): Promise<void> {
    return this.apply()
  }

  async check(): Promise<void | { status: 'warn'; message: string }> {
    if (this.#state === 'starting') await this.#start
    if (this.#state !== 'serving') throw new GatewayError('ERR_GATEWAY_CLOSED', 'the gateway does not serve')
    const state = await this.#nginx.state()
    if (state === undefined) throw new GatewayError('ERR_GATEWAY_NGINX', 'nginx does not answer')
    const keyless = this.#verifier.withoutKeys()
    if (keyless.length > 0) return { status: 'warn', message: `no keys of ${keyless.join(', ')} yet: its tokens are answered with 503` }
    return undefined
  }

  close({ timeoutMs = 5_000 }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closing ??= this.#end(timeoutMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #begin(): Promise<void> {
    this.#state = 'starting'
    const { folder, discovery, logger } = this.#options
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    if (process.getuid?.() === 0) openToWorkers(folder)
    this.#version = await this.#nginx.version()
    const byDns = this.#usesDns()
    this.#endpoints = byDns ? dnsEndpoints(discovery, logger) : textEndpoints(discovery, logger, () => this.#changed())
    this.#logFile.open()
    await this.#endpoints.ready()
    await this.#server.listen(socketsOf(folder).verifier)
    const { file, contents } = this.#firstFile()
    this.#verifier.use(file)
    this.#endpoints.follow(Object.keys(file.services))
    await Promise.all([this.#verifier.warm(), firstSets(discovery, Object.keys(file.services), firstSetsMs)])
    await this.#inTurn(() => this.#take({ file, contents, revision: randomUUID() }))
    if (this.#ending.signal.aborted) return
    this.#state = 'serving'
    if (this.#behind) this.#schedule()
    await this.#control.listen(folder)
    this.#upkeep.push(
      this.#watchCertificates(),
      backgroundInterval(() => void this.#revive(), restartAfterMs),
    )
    logger.info({ nginx: this.#version, endpoints: byDns ? 'dns' : 'reload', routes: file.routes.length }, 'the gateway serves')
  }

  #usesDns(): boolean {
    const { endpoints } = this.#options
    const can = isAtLeast(this.#version, dnsSince)
    if (endpoints === 'dns' && !can)
      throw new GatewayError('ERR_GATEWAY_NGINX', `nginx ${this.#version} cannot follow a name server: ${dnsSince} can`)
    return endpoints === 'reload' ? false : can
  }

  /** A file that is not well at the start does not keep the one from serving that was in force before. */
  #firstFile(): { file: GatewayFile; contents: string } {
    const { logger } = this.#options
    const kept = this.#keptFile()
    try {
      return this.#read()
    } catch (error) {
      if (!existsSync(kept)) throw error
      const contents = readFileSync(kept, 'utf8')
      const file = readGatewayFile(contents, kept)
      logger.error({ reason: (error as Error).message }, 'the file of routes is refused; the last good one is served')
      return { file, contents }
    }
  }

  #read(): { file: GatewayFile; contents: string } {
    const { file: path } = this.#options
    let contents: string
    try {
      contents = readFileSync(path, 'utf8')
    } catch (cause) {
      throw new GatewayError('ERR_GATEWAY_FILE', `${path} cannot be read`, { cause })
    }
    return { file: readGatewayFile(contents, basename(path)), contents }
  }

  #keptFile(): string {
    return join(this.#options.folder, 'in-force.yaml')
  }

  async #apply(probationMs: number): Promise<void> {
    const before = this.#inForce!
    const next: InForce = { ...this.#read(), revision: randomUUID() }
    try {
      await this.#inTurn(() => this.#change(next))
      await this.#probation(before.revision, next.revision, probationMs)
    } catch (error) {
      // nginx may have taken it, or not: what was in force before is given to it again.
      await this.#inTurn(() => this.#change(before))
      throw error
    }
    this.#verifier.forget(next.file)
  }

  async #change(next: InForce): Promise<void> {
    this.#verifier.use(next.file)
    await this.#verifier.warm()
    await this.#take(next)
  }

  /** What only failed before the change is no reason to go back. Meanwhile instances come and go as ever. */
  async #probation(before: string, after: string, forMs: number): Promise<void> {
    const old = this.#log.tally(before)
    const usual = old.all === 0 ? 0 : old.failed / old.all
    for (let waited = 0; waited < forMs; waited += tallyEveryMs) {
      await pause(tallyEveryMs, this.#ending.signal)
      const { all, failed } = this.#log.tally(after)
      if (all < fewestAnswers || failed / all <= usual + tolerated) continue
      const problem = `${failed} of ${all} answers failed with the new file (before: ${old.failed} of ${old.all}); the old one is in force again`
      throw new GatewayError('ERR_GATEWAY_NOT_TAKEN', problem)
    }
  }

  /** Writes, has it checked, gives it to nginx, and waits until workers answer that have it. */
  async #take(next: InForce): Promise<void> {
    const { file, contents, revision } = next
    const { folder, workers } = this.#options
    const generation = randomUUID()
    const endpoints = this.#endpoints!
    endpoints.follow(Object.keys(file.services))
    this.#behind = false
    const text = compileGateway(file, {
      folder,
      generation,
      revision,
      workers,
      connections: workerConnections(),
      user: workerUser(),
      endpoints: endpoints.current(),
      nginxVersion: this.#version,
    })
    const [draft, live] = [join(folder, 'draft.conf'), join(folder, 'nginx.conf')]
    writeFileSync(draft, text, { mode: 0o600 })
    try {
      await this.#nginx.test(draft)
      renameSync(draft, live)
      await this.#nginx.take(live, generation)
    } catch (error) {
      instruments().reloads.add(1, { outcome: 'refused' })
      throw error
    }
    instruments().reloads.add(1, { outcome: 'taken' })
    this.#log.keepTallies([revision, this.#inForce?.revision ?? ''])
    this.#inForce = next
    this.#tookAt = performance.now()
    writeFileSync(`${this.#keptFile()}.new`, contents, { mode: 0o600 })
    renameSync(`${this.#keptFile()}.new`, this.#keptFile())
  }

  /** While it starts this waits until nginx is there. */
  #changed(): void {
    this.#behind = true
    this.#schedule()
  }

  /** Gathers changes of instances: at most one reload in an interval, and the last state always comes. */
  #schedule(): void {
    if (this.#pending !== undefined || this.#state !== 'serving') return
    const waitMs = Math.max(0, this.#tookAt + this.#options.reloadIntervalMs - performance.now())
    this.#pending = backgroundTimeout(
      () => {
        this.#pending = undefined
        void this.#again('instances have changed')
      },
      Math.max(50, waitMs),
    )
  }

  /** The same file once more. */
  async #again(reason: string): Promise<void> {
    try {
      await this.#inTurn(() => this.#take(this.#inForce!))
      this.#options.logger.debug({ reason }, 'nginx was reloaded')
    } catch (error) {
      if (this.#state !== 'serving') return
      this.#options.logger.error({ reason: (error as Error).message }, 'nginx was not reloaded')
      this.#schedule()
    }
  }

  #watchCertificates(): NodeJS.Timeout {
    const stamps = (): string => {
      const files = this.#inForce!.file.listeners.flatMap(({ tls }) => (tls === undefined ? [] : [tls.certificateFile, tls.keyFile]))
      return files.map(stampOf).join(' ')
    }
    let seen = stamps()
    return backgroundInterval(() => {
      const now = stamps()
      if (now === seen) return
      seen = now
      void this.#again('a certificate has changed')
    }, certificateEveryMs)
  }

  /** nginx was killed: it is started again. That something answers proves nothing: workers live on without their master. */
  async #revive(): Promise<void> {
    if (this.#state === 'serving' && !this.#nginx.isThere()) await this.#again('nginx was gone')
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(() => {
      this.#ending.signal.throwIfAborted()
      return work()
    })
    this.#turn = result.catch(() => {})
    return result
  }

  async #end(timeoutMs: number): Promise<void> {
    this.#state = 'closed'
    this.#ending.abort(new GatewayError('ERR_GATEWAY_CLOSED'))
    for (const timer of this.#upkeep) clearInterval(timer)
    clearTimeout(this.#pending)
    await this.#start?.catch(() => {})
    await this.#turn
    if (this.#start !== undefined) await this.#nginx.stop(timeoutMs)
    await this.#control.close()
    await this.#server.close()
    await this.#endpoints?.close()
    this.#logFile.close()
  }
}

function stampOf(file: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(file)
    return `${mtimeMs}/${size}/${ino}`
  } catch {
    return 'gone'
  }
}

/** Workers are not root: sockets and temporary files in the folder must be in their reach. */
function openToWorkers(folder: string): void {
  chmodSync(folder, 0o755)
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) {
      throw refuseOption('folder', `must be in the reach of the workers, which run as nobody: ${at} is closed to others`)
    }
  }
}
