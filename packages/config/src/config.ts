import { AsyncLocalStorage } from 'node:async_hooks'
import { guarded, orAborted } from '@platform/kernel'
import { Current } from './current.ts'
import type { Fault } from './errors.ts'
import type { Schema, Snapshot } from './evaluate.ts'
import { type Explanation, explain } from './explain.ts'
import { createInstruments } from './instrumentation.ts'
import type { LastKnownGood } from './last-known-good.ts'
import type { Live } from './listeners.ts'
import type { ResolvedLoadOptions } from './options.ts'
import { type ReloadEvent, Reloads } from './reloads.ts'
import type { Start } from './start.ts'

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

/** What a caller is pinned to. */
interface Pin<T> {
  readonly snapshot: Snapshot<T>
  readonly revision: number
}

export function createConfig<T>(
  schema: Schema<T>,
  options: ResolvedLoadOptions,
  first: { snapshot: Snapshot<T>; start: Start; copy: LastKnownGood | undefined },
): { config: Config<T>; changed(): void; onClose(end: () => void): void } {
  const { start } = first
  const pins = new AsyncLocalStorage<Pin<T>>()
  const observers = new Set<(event: ReloadEvent) => unknown>()
  const ends: (() => void)[] = []
  const reloads = new Reloads<T>(schema, options, first.snapshot, first.copy, {
    applied: () => current.ask(),
    ended(event) {
      instruments.reload(event.outcome)
      if (event.outcome !== 'unchanged') for (const observer of observers) guarded(() => observer(event))
    },
  })
  const instruments = createInstruments(() => reloads.revision)
  // Before the first change every pin is the snapshot that there is.
  const now = (): Snapshot<T> => (reloads.revision === 1 ? reloads.snapshot : (pins.getStore()?.snapshot ?? reloads.snapshot))
  const current = new Handle(first.snapshot.value, reloads, now, () => pins.getStore()?.revision ?? reloads.revision)

  let closing: Promise<void> | undefined
  const close = ({ timeoutMs = 5_000 }: { timeoutMs?: number | undefined } = {}): Promise<void> =>
    (closing ??= (async () => {
      for (const end of ends) guarded(end)
      instruments.close()
      await reloads.close(timeoutMs)
    })())

  const members: Omit<Config<T>, keyof Handle<T>> = {
    live: (select) => liveOf(reloads, now, select),
    explain: (path) => explain(path, now().value, now().origins),
    secrets: () => reloads.secrets().values(),
    pinned: (work) => pins.run(pins.getStore() ?? { snapshot: reloads.snapshot, revision: reloads.revision }, work),
    reload: ({ signal } = {}) => orAborted(reloads.run(), signal),
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
      const message = warningOf(reloads, start)
      return Promise.resolve(message === '' ? undefined : { status: 'warn', message })
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
  if (start.stale.length > 0) reloads.retryLater()
  return { config: Object.assign(current, members), changed: reloads.begin, onClose: (end) => ends.push(end) }
}

function liveOf<T, U>(reloads: Reloads<T>, now: () => Snapshot<T>, select: (value: T) => U): Live<U> {
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
      reloads.listeners.add({
        select: (whole) => select(whole as T),
        prepare: (next, previous, { signal }) => prepare(next as U, previous as U, { signal }),
      }),
  })
}

function warningOf({ isComplete, refused, pendingRestart }: Reloads<unknown>, { stale, copyAgeMs }: Start): string {
  const notes: string[] = []
  if (stale.length > 0 && !isComplete)
    notes.push(`${stale.join(', ')} gave no settings at the start; the local copy of ${Math.round(copyAgeMs / 1000)} s ago stands in`)
  if (refused !== undefined) notes.push(`the last reload was refused: ${refused}`)
  if (pendingRestart.length > 0) notes.push(`waiting for a restart: ${pendingRestart.join(', ')}`)
  return notes.join('; ')
}

class Handle<T> extends Current<T> {
  readonly #reloads: Reloads<T>
  readonly #now: () => Snapshot<T>
  readonly #revision: () => number

  constructor(value: T, reloads: Reloads<T>, now: () => Snapshot<T>, revision: () => number) {
    super(value, () => now().value)
    this.#reloads = reloads
    this.#now = now
    this.#revision = revision
  }

  get revision(): number {
    return this.#revision()
  }

  get warnings(): readonly Fault[] {
    return this.#now().warnings
  }

  get pendingRestart(): readonly string[] {
    return this.#reloads.pendingRestart
  }
}
