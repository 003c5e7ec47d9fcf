import { backgroundTimeout, jittered, settlesWithin } from '@platform/kernel'
import { changedFields, same } from './compare.ts'
import { ConfigError } from './errors.ts'
import { evaluate, evaluateTree, type Schema, type Snapshot } from './evaluate.ts'
import type { Field } from './fields.ts'
import type { LastKnownGood } from './last-known-good.ts'
import { createListeners, type Listeners } from './listeners.ts'
import type { ResolvedLoadOptions } from './options.ts'
import { type Reading, readSources } from './reading.ts'
import { createRefusals } from './refusals.ts'
import { replaced, valueAt } from './tree.ts'

export interface ReloadEvent {
  /**
   * - `applied`: there is a new snapshot.
   * - `unchanged`: what was read is what there is. No event, only a return value.
   * - `restart`: only settings changed that wait for a restart; the snapshot is the old one.
   * - `invalid`, `unreachable`: what was read is not usable, or a remote source gave nothing; the snapshot is the old one.
   * - `vetoed`: a listener was not ready; the snapshot is the old one.
   */
  readonly outcome: 'applied' | 'unchanged' | 'restart' | 'invalid' | 'unreachable' | 'vetoed'
  /** Of the snapshot after it. */
  readonly revision: number
  /** Settings that are other ones now. */
  readonly changed: readonly string[]
  /** Those of `changed` whose old work should be led to its end. */
  readonly drain: readonly string[]
  /** Settings that changed at their source and wait for a restart. */
  readonly restart: readonly string[]
  /** Why nothing was applied; with `applied`, what a listener threw in its commit. */
  readonly error?: unknown
  readonly durationMs: number
}

interface Attempt extends Omit<ReloadEvent, 'durationMs' | 'revision'> {
  /** What was refused: the settings, or what the sources said where that was not usable. */
  readonly wanted?: unknown
}

/** Whom a reload is told. */
interface Told {
  /** There is a new snapshot, and nobody has committed to it yet. */
  applied(): void
  /** A run has ended; one that is refused for the same reason as before is not told again. */
  ended(event: ReloadEvent): void
}

const rememberedSecrets = 10
const firstRetryMs = 1_000
const longestRetryMs = 30_000

/**
 * The settings in force, and how others take their place: read, held against the schema, prepared, then committed, as a whole or not at all. One
 * run at a time; what is refused is tried again while sources are watched.
 */
export class Reloads<T> {
  readonly listeners: Listeners = createListeners()
  snapshot: Snapshot<T>
  /** 1 for the first snapshot. */
  revision = 1
  /** Settings that changed at their source and wait for a restart. */
  pendingRestart: readonly string[] = []
  /** Whether every source has answered since the start. */
  isComplete = false
  readonly #schema: Schema<T>
  readonly #options: ResolvedLoadOptions
  readonly #copy: LastKnownGood | undefined
  readonly #told: Told
  readonly #refusals = createRefusals()
  readonly #closing = new AbortController()
  /** Of the snapshots before, the latest first. */
  readonly #olderSecrets: ReadonlySet<string>[] = []
  #running: Promise<ReloadEvent> | undefined
  #again: Promise<ReloadEvent> | undefined
  #retry: NodeJS.Timeout | undefined
  #retryMs = firstRetryMs

  constructor(schema: Schema<T>, options: ResolvedLoadOptions, first: Snapshot<T>, copy: LastKnownGood | undefined, told: Told) {
    this.#schema = schema
    this.#options = options
    this.snapshot = first
    this.#copy = copy
    this.#told = told
  }

  /** The outcome of the last run, while it was refused and none was accepted since. */
  get refused(): string | undefined {
    return this.#refusals.last
  }

  secrets(): Set<string> {
    return new Set([this.snapshot.secrets, ...this.#olderSecrets].flatMap((texts) => [...texts]))
  }

  /** Whoever asks while one runs gets the next: what changed meanwhile may have come too late for it. */
  run(): Promise<ReloadEvent> {
    if (this.#closing.signal.aborted) return Promise.reject(closed())
    if (this.#running === undefined) {
      this.#running = this.#runOnce().finally(() => this.#next())
      return this.#running
    }
    this.#again ??= this.#running
      .catch(() => {})
      .then(() => this.#runOnce())
      .finally(() => this.#next())
    return this.#again
  }

  /** For those who do not wait for it. */
  readonly begin = (): void => {
    this.run().catch(() => {})
  }

  retryLater(): void {
    if (!this.#options.watch || this.#closing.signal.aborted) return
    this.#retry = backgroundTimeout(this.begin, jittered(this.#retryMs))
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  /** A run under way is given up. */
  async close(timeoutMs: number): Promise<void> {
    clearTimeout(this.#retry)
    this.#closing.abort(closed())
    await settlesWithin(Promise.allSettled([this.#running, this.#again]), timeoutMs)
  }

  #next(): void {
    this.#running = this.#again
    this.#again = undefined
  }

  async #runOnce(): Promise<ReloadEvent> {
    const startedAt = performance.now()
    clearTimeout(this.#retry)
    const { wanted, ...result } = await this.#attempt(this.#closing.signal)
    const event: ReloadEvent = Object.freeze({ ...result, revision: this.revision, durationMs: performance.now() - startedAt })
    this.pendingRestart = event.restart
    if (isRefusal(event.outcome)) {
      // Its reason may pass: a listener's database was busy, a rule could not ask. It is tried again while it is wanted.
      this.retryLater()
      // What stays refused for the same reason is told and counted once.
      if (this.#refusals.isRepeated(event, wanted)) return event
    } else {
      this.#refusals.accepted()
      this.#retryMs = firstRetryMs
    }
    this.#told.ended(event)
    return event
  }

  async #attempt(signal: AbortSignal): Promise<Attempt> {
    const { sources, map } = this.#schema
    const none = { changed: [], drain: [], restart: this.pendingRestart }
    let next: Snapshot<T>
    let readings: readonly Reading[] = []
    try {
      readings = await readSources(sources, map, { signal, readTimeoutMs: this.#options.readTimeoutMs })
      next = await evaluate(this.#schema, readings)
    } catch (error) {
      signal.throwIfAborted()
      const isOut = ConfigError.isInstance(error) && error.code === 'ERR_CONFIG_UNREACHABLE'
      return { ...none, outcome: isOut ? 'unreachable' : 'invalid', error, wanted: readings.map(({ layer }) => layer.leaves) }
    }
    this.isComplete = true
    const changed = changedFields(map.fields, this.snapshot.value, next.value)
    const waiting = changed.filter((field) => field.reload === 'restart')
    if (waiting.length > 0) {
      const mixed = await evaluateTree(this.#schema, withOld(waiting, this.snapshot, next), next.warnings)
      // New settings that are only right together with one that waits: all of them wait.
      if (mixed === undefined) return { ...none, outcome: 'restart', restart: changed.map(pathOf) }
      next = mixed
    }
    const restart = waiting.map(pathOf)
    if (changed.length === waiting.length && same(this.snapshot.value, next.value)) {
      await this.#save(readings)
      return { ...none, restart, outcome: same(restart, this.pendingRestart) ? 'unchanged' : 'restart' }
    }
    let commit: () => Promise<unknown[]>
    try {
      commit = await this.listeners.prepare(next.value, this.snapshot.value, { timeoutMs: this.#options.prepareTimeoutMs, signal })
    } catch (error) {
      signal.throwIfAborted()
      return { ...none, restart, outcome: 'vetoed', error, wanted: next.value }
    }
    this.#putInForce(next)
    const [error] = await commit()
    await this.#save(readings)
    const applied = changed.filter((field) => field.reload !== 'restart')
    const drain = applied.filter((field) => field.reload === 'drain').map(pathOf)
    return { outcome: 'applied', changed: applied.map(pathOf), drain, restart, ...(error === undefined ? {} : { error }) }
  }

  #putInForce(next: Snapshot<T>): void {
    this.#olderSecrets.unshift(this.snapshot.secrets)
    this.#olderSecrets.length = Math.min(this.#olderSecrets.length, rememberedSecrets)
    this.snapshot = next
    this.revision++
    this.#told.applied()
  }

  async #save(readings: readonly Reading[]): Promise<void> {
    const remote = readings.filter(({ source, failure }) => source.remote === true && failure === undefined)
    // Without a copy the next start is less safe; this one is as good as before. The key may be a function that never answers.
    if (this.#copy && remote.length > 0) await settlesWithin(this.#copy.save(remote), this.#options.readTimeoutMs)
  }
}

const isRefusal = (outcome: ReloadEvent['outcome']): boolean => ['invalid', 'unreachable', 'vetoed'].includes(outcome)
const pathOf = (field: Field): string => field.path.join('.')
const closed = (): ConfigError => new ConfigError('ERR_CONFIG_CLOSED', 'the configuration is closed')

function withOld<T>(fields: readonly Field[], before: Snapshot<T>, after: Snapshot<T>): Pick<Snapshot<T>, 'tree' | 'origins'> {
  const origins = new Map(after.origins)
  let { tree } = after
  for (const field of fields) {
    const path = pathOf(field)
    tree = replaced(tree, field.path, valueAt(before.tree, field.path))
    const origin = before.origins.get(path)
    if (origin) origins.set(path, origin)
    else origins.delete(path)
  }
  return { tree, origins }
}
