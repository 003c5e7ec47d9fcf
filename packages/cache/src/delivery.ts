import { backgroundPause } from '@platform/kernel'
import { isRefusal } from './errors.ts'
import type { Invalidation } from './invalidation.ts'
import { limited } from './limited.ts'

const maxQueued = 10_000
const initialDelayMs = 100
const maxDelayMs = 2_000

interface Waiter {
  resolve(told: boolean): void
  reject(error: unknown): void
}

/** What is under way. Held by a reader, it still knows what was under way when he began. */
export class Batch implements Invalidation {
  readonly keySet: Set<string> = new Set()
  readonly tagSet: Set<string> = new Set()
  all = false
  readonly items: { readonly what: Invalidation; readonly waiters: Waiter[] }[] = []
  /** Told whether the first attempt took all of it. */
  readonly watchers: ((taken: boolean) => void)[] = []

  get keys(): string[] {
    return [...this.keySet]
  }
  get tags(): string[] {
    return [...this.tagSet]
  }
  get size(): number {
    return this.keySet.size + this.tagSet.size + (this.all ? 1 : 0)
  }
  /** Beyond the bound single names give way to the whole namespace: coarser, never lost. */
  add(what: Invalidation, waiters: Waiter[]): void {
    if (what.all) this.all = true
    for (const key of what.keys) this.keySet.add(key)
    for (const tag of what.tags) this.tagSet.add(tag)
    if (this.keySet.size + this.tagSet.size <= maxQueued) return void this.items.push({ what, waiters })
    this.all = true
    this.keySet.clear()
    this.tagSet.clear()
    const everyone = [...this.items.flatMap((item) => item.waiters), ...waiters]
    this.items.splice(0, this.items.length, { what: everything, waiters: everyone })
  }
}

/** What was under way at a moment. */
export interface PendingNames {
  readonly sending: Batch
  readonly queued: Batch
}

const everything: Invalidation = { keys: [], tags: [], all: true }
const nothing = new Batch()

export interface DeliveryOptions {
  /** Resolves to whether the other processes have been told. */
  send(what: Invalidation): Promise<boolean>
  /** How long `add` waits at most. */
  readonly timeoutMs: number
  onDelivered(what: Invalidation, attempts: number, told: boolean): void
  /** Told once for each invalidation that can never be delivered by its names; the whole namespace goes instead. */
  onRefused(error: unknown): void
}

/**
 * Sends invalidations in batches, one at a time. What the other side did not take because it is away stays and is sent again. What it refuses is
 * taken apart until the one that is refused is alone; that one becomes an invalidation of the whole namespace, and the others are delivered.
 */
export class Delivery {
  readonly #options: DeliveryOptions
  #queued = new Batch()
  #sending = nothing
  #running: Promise<void> | undefined
  /** Attempts that failed since the last one that did not. */
  #failures = 0
  #closed: unknown
  #wake = new AbortController()

  constructor(options: DeliveryOptions) {
    this.#options = options
  }

  /**
   * Resolves to whether the other processes have been told. Rejects when the first attempt failed, or took too long; the invalidation stays queued all
   * the same. After close it only rejects.
   */
  add(what: Invalidation): Promise<boolean> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed as Error)
    const { promise, resolve, reject } = Promise.withResolvers<boolean>()
    this.#queued.add(what, [{ resolve, reject }])
    this.#start()
    return limited(promise, this.#options.timeoutMs)
  }

  covers(key: string): boolean {
    return this.coversAll() || this.#sending.keySet.has(key) || this.#queued.keySet.has(key)
  }
  coversAll(): boolean {
    return this.#sending.all || this.#queued.all
  }
  /** What is under way now, for who reads meanwhile. */
  pending(): PendingNames {
    return { sending: this.#sending, queued: this.#queued }
  }
  /** Was the tag under way then, or is it now? What was read from there meanwhile may be from before. */
  mayPredate({ sending, queued }: PendingNames, tag: string): boolean {
    const names = (batch: Batch): boolean => batch.all || batch.tagSet.has(tag)
    return names(sending) || names(queued) || names(this.#sending) || names(this.#queued)
  }
  get size(): number {
    return this.#sending.size + this.#queued.size
  }

  /** Resolves when all that was handed in until now has been taken: true. False as soon as the other side is found to be away. */
  takesAll(): Promise<boolean> {
    if (this.size === 0) return Promise.resolve(true)
    if (this.#failures > 0 || this.#closed !== undefined) return Promise.resolve(false)
    const { watchers } = this.#queued.size > 0 ? this.#queued : this.#sending
    return new Promise((resolve) => watchers.push(resolve))
  }

  /** Ends a pause between attempts: the other side is back. */
  retryNow(): void {
    this.#wake.abort()
  }

  /** Resolves when nothing is queued any more, or at close. */
  async idle(): Promise<void> {
    await this.#running
  }

  /** Whoever waits is told at once; nothing is sent any more. */
  close(error: unknown): void {
    this.#closed = error
    for (const batch of [this.#sending, this.#queued]) {
      for (const { waiters } of batch.items) for (const waiter of waiters.splice(0)) waiter.reject(error)
      for (const watch of batch.watchers.splice(0)) watch(false)
    }
    this.#wake.abort()
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      if (this.#queued.size > 0 && this.#closed === undefined) this.#start()
    })
  }

  async #run(): Promise<void> {
    while (this.#closed === undefined && this.#queued.size > 0) {
      this.#sending = this.#queued
      this.#queued = new Batch()
      const left = await this.#send(this.#sending.items, this.#failures + 1)
      // First queued again, then no longer sending: never covered by neither. As one: it may fail for hours while names are given again and again.
      if (left.length > 0) this.#queued.add(together(left), [])
      const { watchers } = this.#sending
      this.#sending = nothing
      this.#failures = left.length > 0 ? this.#failures + 1 : 0
      // What was handed in meanwhile finds the other side away as well.
      for (const watch of left.length > 0 ? [...watchers, ...this.#queued.watchers.splice(0)] : watchers) watch(left.length === 0)
      if (this.#failures > 0 && this.#closed === undefined) await this.#pause(this.#failures)
    }
  }

  /** Returns what has to be tried again. */
  async #send(items: Batch['items'], attempt: number): Promise<Batch['items']> {
    const batch = new Batch()
    for (const { what, waiters } of items) batch.add(what, waiters)
    let told: boolean
    try {
      told = await this.#options.send(batch)
    } catch (error) {
      if (isRefusal(error) && batch.size > 1) {
        const [front, back] = halves(items)
        return [...(await this.#send(front, attempt)), ...(await this.#send(back, attempt))]
      }
      for (const waiter of items.flatMap((item) => item.waiters.splice(0))) waiter.reject(error)
      if (!isRefusal(error)) return items
      if (!batch.all) this.#options.onRefused(error)
      return [{ what: everything, waiters: [] }]
    }
    this.#options.onDelivered(batch, attempt, told)
    for (const waiter of items.flatMap((item) => item.waiters.splice(0))) waiter.resolve(told)
    return []
  }

  async #pause(failures: number): Promise<void> {
    this.#wake = new AbortController()
    const delayMs = Math.min(maxDelayMs, initialDelayMs * 2 ** Math.min(failures - 1, 10))
    await backgroundPause(delayMs * (0.5 + Math.random() / 2), this.#wake.signal)
  }
}

function together(items: Batch['items']): Invalidation {
  const batch = new Batch()
  for (const { what } of items) batch.add(what, [])
  const { keys, tags, all } = batch
  return { keys, tags, all }
}

/** Two parts of at least one name each. */
function halves(items: Batch['items']): [Batch['items'], Batch['items']] {
  if (items.length > 1) return [items.slice(0, items.length >> 1), items.slice(items.length >> 1)]
  const [{ what, waiters }] = items as [Batch['items'][number]]
  const parts: Invalidation[] = [
    ...what.keys.map((key) => ({ keys: [key], tags: [], all: false })),
    ...what.tags.map((tag) => ({ keys: [], tags: [tag], all: false })),
    ...(what.all ? [everything] : []),
  ]
  const middle = parts.length >> 1
  // The last part answers for all: it is sent when the others have been.
  const item = (part: Invalidation, index: number): Batch['items'][number] => ({
    what: part,
    waiters: index === parts.length - 1 ? waiters : [],
  })
  return [parts.slice(0, middle).map(item), parts.slice(middle).map((part, index) => item(part, middle + index))]
}
