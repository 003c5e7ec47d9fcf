import { AsyncLocalStorage } from 'node:async_hooks'
import { backgroundTimeout, guarded, jittered, orAborted, settlesWithin } from '@platform/kernel'
import { changedFields, same } from './compare.ts'
import { Current } from './current.ts'
import { ConfigError, type Fault } from './errors.ts'
import { evaluate, evaluateTree, type Schema, type Snapshot } from './evaluate.ts'
import { type Explanation, explain } from './explain.ts'
import type { Field } from './fields.ts'
import { createInstruments } from './instrumentation.ts'
import type { LastKnownGood } from './last-known-good.ts'
import { createListeners, type Live } from './listeners.ts'
import type { ResolvedLoadOptions } from './options.ts'
import { type Reading, readSources } from './reading.ts'
import type { Start } from './start.ts'
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

export interface Config<T> {
  /** Deep-frozen: plain objects and lists all the way down; replaced as a whole. Inside `pinned` always the same one. */
  readonly current: T
  /** 1 after `load`, one more for each snapshot that was applied. Inside `pinned` that of the pinned one. */
  readonly revision: number
  /** What is suspicious but usable: unknown names, secrets on the command line. Never carries a value. */
  readonly warnings: readonly Fault[]
  /** Settings that changed at their source and wait for a restart. */
  readonly pendingRestart: readonly string[]
  /** A part of the settings for those who follow changes. */
  live<U>(select: (value: T) => U): Live<U>
  /** Which source gave a setting, and where. Throws `ERR_CONFIG_PATH` for one that does not exist. */
  explain(path: string): Explanation
  /** Live values of all secrets, for the logger's redaction; also the password inside a secret URL, and those of the last ten revisions. */
  secrets(): Iterable<string>
  /** Runs with one snapshot: whatever `run` calls or awaits sees no change. */
  pinned<R>(run: () => R): R
  /** Reads all sources again and applies what they say, as a whole or not at all. Calls at the same time share one run. */
  reload(options?: { signal?: AbortSignal | undefined }): Promise<ReloadEvent>
  /** Told of every reload that changed or refused something; what the listener throws or rejects with is dropped. Returns the unsubscribe. */
  onReload(listener: (event: ReloadEvent) => void): () => void
  /** Starts to report the revision. */
  ready(options?: { signal?: AbortSignal | undefined }): Promise<void>
  /** A warning while a local copy stands in for a remote source, after a reload that was refused, and while a setting waits for a restart. */
  check(options?: { signal?: AbortSignal | undefined }): Promise<void | { status: 'warn'; message: string }>
  /** Ends watching; a reload under way is given up. The last snapshot stays readable. */
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const rememberedSecrets = 10

export function createConfig<T>(
  schema: Schema<T>,
  options: ResolvedLoadOptions,
  first: { snapshot: Snapshot<T>; start: Start; copy: LastKnownGood | undefined },
): { config: Config<T>; changed(): void; onClose(end: () => void): void } {
  const { copy } = first
  let snapshot = first.snapshot
  let revision = 1
  let pendingRestart: readonly string[] = []
  let staleMessage = first.start.stale.length === 0 ? undefined : staleNote(first.start)
  const refusals = createRefusals()
  const pins = new AsyncLocalStorage<{ readonly snapshot: Snapshot<T>; readonly revision: number }>()
  const listeners = createListeners()
  const observers = new Set<(event: ReloadEvent) => unknown>()
  const older: ReadonlySet<string>[] = []
  const instruments = createInstruments(() => revision)
  const closing = new AbortController()
  const ends: (() => void)[] = []
  let running: Promise<ReloadEvent> | undefined
  let again: Promise<ReloadEvent> | undefined
  let retry: NodeJS.Timeout | undefined
  let retryDelayMs = 1_000

  // Before the first change every pin is the snapshot that there is.
  const now = (): Snapshot<T> => (revision === 1 ? snapshot : (pins.getStore()?.snapshot ?? snapshot))

  const save = async (readings: readonly Reading[]): Promise<void> => {
    const remote = readings.filter(({ source, failure }) => source.remote === true && failure === undefined)
    // Without a copy the next start is less safe; this one is as good as before. The key may be a function that never answers.
    if (copy && remote.length > 0) await settlesWithin(copy.save(remote), options.readTimeoutMs)
  }

  async function attempt(signal: AbortSignal): Promise<Attempt> {
    const none = { changed: [], drain: [], restart: pendingRestart }
    let next: Snapshot<T>
    let readings: readonly Reading[] = []
    try {
      readings = await readSources(schema.sources, schema.map, { signal, readTimeoutMs: options.readTimeoutMs })
      next = await evaluate(schema, readings)
    } catch (error) {
      signal.throwIfAborted()
      const isOut = ConfigError.isInstance(error) && error.code === 'ERR_CONFIG_UNREACHABLE'
      return { ...none, outcome: isOut ? 'unreachable' : 'invalid', error, wanted: readings.map(({ layer }) => layer.leaves) }
    }
    staleMessage = undefined
    const changed = changedFields(schema.map.fields, snapshot.value, next.value)
    const waiting = changed.filter((field) => field.reload === 'restart')
    if (waiting.length > 0) {
      const mixed = await evaluateTree(schema, withOld(waiting, snapshot, next), next.warnings)
      // New settings that are only right together with one that waits: all of them wait.
      if (mixed === undefined) return { ...none, outcome: 'restart', restart: changed.map(pathOf) }
      next = mixed
    }
    const restart = waiting.map(pathOf)
    if (changed.length === waiting.length && same(snapshot.value, next.value)) {
      await save(readings)
      return { ...none, restart, outcome: same(restart, pendingRestart) ? 'unchanged' : 'restart' }
    }
    let commit: () => Promise<unknown[]>
    try {
      commit = await listeners.prepare(next.value, snapshot.value, { timeoutMs: options.prepareTimeoutMs, signal })
    } catch (error) {
      signal.throwIfAborted()
      return { ...none, restart, outcome: 'vetoed', error, wanted: next.value }
    }
    older.unshift(snapshot.secrets)
    older.length = Math.min(older.length, rememberedSecrets)
    snapshot = next
    revision++
    current.ask()
    const [error] = await commit()
    await save(readings)
    const applied = changed.filter((field) => field.reload !== 'restart')
    const drain = applied.filter((field) => field.reload === 'drain')
    return {
      outcome: 'applied',
      changed: applied.map(pathOf),
      drain: drain.map(pathOf),
      restart,
      ...(error === undefined ? {} : { error }),
    }
  }

  async function run(): Promise<ReloadEvent> {
    const startedAt = performance.now()
    clearTimeout(retry)
    const { wanted, ...result } = await attempt(closing.signal)
    const event: ReloadEvent = Object.freeze({ ...result, revision, durationMs: performance.now() - startedAt })
    pendingRestart = event.outcome === 'invalid' || event.outcome === 'unreachable' ? pendingRestart : event.restart
    if (isRefusal(event.outcome)) {
      // Its reason may pass: a listener's database was busy, a rule could not ask. It is tried again while it is wanted.
      retryLater()
      // What stays refused for the same reason is told and counted once.
      if (refusals.isRepeated(event, wanted)) return event
    } else {
      refusals.accepted()
      retryDelayMs = 1_000
    }
    instruments.reload(event.outcome)
    if (event.outcome !== 'unchanged') for (const observer of observers) guarded(() => observer(event))
    return event
  }

  function retryLater(): void {
    if (!options.watch || closing.signal.aborted) return
    retry = backgroundTimeout(changedSomewhere, jittered(retryDelayMs))
    retryDelayMs = Math.min(retryDelayMs * 2, 30_000)
  }

  function reload(): Promise<ReloadEvent> {
    if (closing.signal.aborted) return Promise.reject(closed())
    if (running === undefined) {
      running = run().finally(() => {
        running = again
        again = undefined
      })
      return running
    }
    // What changes while one runs may come too late for it: one more, for all who ask meanwhile.
    again ??= running
      .catch(() => {})
      .then(run)
      .finally(() => {
        running = again
        again = undefined
      })
    return again
  }

  function changedSomewhere(): void {
    reload().catch(() => {})
  }

  let ended: Promise<void> | undefined
  const close = ({ timeoutMs = 5_000 }: { timeoutMs?: number | undefined } = {}): Promise<void> =>
    (ended ??= (async () => {
      for (const end of ends) guarded(end)
      clearTimeout(retry)
      closing.abort(closed())
      instruments.close()
      await settlesWithin(Promise.allSettled([running, again]), timeoutMs)
    })())

  if (staleMessage !== undefined) retryLater()
  const current = new Handle(
    snapshot.value,
    () => now().value,
    () => ({ ...now(), revision: pins.getStore()?.revision ?? revision, pendingRestart }),
  )
  const members: Omit<Config<T>, keyof Handle<T>> = {
    live<U>(select: (value: T) => U): Live<U> {
      let from: T | undefined
      let value: U
      const part = (): U => {
        const { value: whole } = now()
        if (from !== whole) {
          value = select(whole)
          from = whole
        }
        return value
      }
      return Object.assign(new Current<U>(undefined, part), {
        onChange: (prepare: Parameters<Live<U>['onChange']>[0]) =>
          listeners.add({
            select: (whole) => select(whole as T),
            prepare: (next, previous, { signal }) => prepare(next as U, previous as U, { signal }),
          }),
      })
    },
    explain: (path) => explain(path, now().value, now().origins),
    secrets: () => new Set([snapshot.secrets, ...older].flatMap((texts) => [...texts])).values(),
    pinned: (work) => pins.run(pins.getStore() ?? { snapshot, revision }, work),
    reload: ({ signal } = {}) => orAborted(reload(), signal),
    onReload(listener) {
      const own = (event: ReloadEvent): unknown => listener(event)
      observers.add(own)
      return () => observers.delete(own)
    },
    ready() {
      instruments.attach()
      return Promise.resolve()
    },
    check() {
      instruments.attach()
      const notes = [staleMessage, refusals.last && `the last reload was refused: ${refusals.last}`]
      if (pendingRestart.length > 0) notes.push(`waiting for a restart: ${pendingRestart.join(', ')}`)
      const message = notes.filter((note) => note !== undefined).join('; ')
      return Promise.resolve(message === '' ? undefined : { status: 'warn', message })
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
  const config = Object.assign(current, members)
  return { config, changed: changedSomewhere, onClose: (end) => ends.push(end) }
}

interface Attempt extends Omit<ReloadEvent, 'durationMs' | 'revision'> {
  /** What was refused: the settings, or what the sources said where that was not usable. */
  readonly wanted?: unknown
}

const isRefusal = (outcome: ReloadEvent['outcome']): boolean => ['invalid', 'unreachable', 'vetoed'].includes(outcome)

interface State<T> extends Snapshot<T> {
  readonly revision: number
  readonly pendingRestart: readonly string[]
}

class Handle<T> extends Current<T> {
  readonly #state: () => State<T>

  constructor(value: T, ask: () => T, state: () => State<T>) {
    super(value, ask)
    this.#state = state
  }

  get revision(): number {
    return this.#state().revision
  }

  get warnings(): readonly Fault[] {
    return this.#state().warnings
  }

  get pendingRestart(): readonly string[] {
    return this.#state().pendingRestart
  }
}

const pathOf = (field: Field): string => field.path.join('.')
const closed = (): ConfigError => new ConfigError('ERR_CONFIG_CLOSED', 'the configuration is closed')

function staleNote({ stale, copyAgeMs }: Start): string {
  return `${stale.join(', ')} gave no settings at the start; the local copy of ${Math.round(copyAgeMs / 1000)} s ago stands in`
}

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
