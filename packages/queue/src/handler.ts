import { integerOption, knownOptions } from '@platform/kernel'
import type { Inbox } from './inbox.ts'
import type { Delivery, Message } from './message.ts'
import type { TransactionLike } from './shapes.ts'
import { refuse } from './validation.ts'

export interface HandlerContext {
  /** Aborts when the delivery is lost or the consumer's time to close is over. */
  readonly signal: AbortSignal
  /** The inbox's transaction; there when `inbox` is set. */
  readonly tx?: TransactionLike
}

export interface InboxContext extends HandlerContext {
  /** What is done in it takes effect once per message, whatever is delivered twice. */
  readonly tx: TransactionLike
}

export type Handler<T> = (delivery: Delivery<T>, context: HandlerContext) => Promise<void>
export type InboxHandler<T> = (delivery: Delivery<T>, context: InboxContext) => Promise<void>
export type BatchHandler<T> = (deliveries: readonly Delivery<T>[], context: HandlerContext) => Promise<void>
export type InboxBatchHandler<T> = (deliveries: readonly Delivery<T>[], context: InboxContext) => Promise<void>

export interface BatchOptions {
  /** Messages that a handler gets at most; not more than `concurrency`, which counts messages. 2 to 1,000. */
  maxSize: number
  /** How long the first message of a batch waits for others, in milliseconds. Default 20, 1 to 60,000. */
  maxWaitMs?: number | undefined
}

export interface ResolvedBatchOptions {
  readonly maxSize: number
  readonly maxWaitMs: number
}

/** What a handler gets depends on `batch` and `inbox`. */
export interface Subscribe<Options, Result> {
  <Out>(
    message: Message<never, Out>,
    handler: InboxBatchHandler<NoInfer<Out>>,
    options: Options & { inbox: Inbox; batch: BatchOptions },
  ): Result
  <Out>(message: Message<never, Out>, handler: BatchHandler<NoInfer<Out>>, options: Options & { batch: BatchOptions }): Result
  <Out>(message: Message<never, Out>, handler: InboxHandler<NoInfer<Out>>, options: Options & { inbox: Inbox; batch?: undefined }): Result
  <Out>(message: Message<never, Out>, handler: Handler<NoInfer<Out>>, options: Options & { batch?: undefined }): Result
}

/** Inside, everything is a batch: one handler, told how many it gets. */
export type AnyHandler<T> = Handler<T> | InboxHandler<T> | BatchHandler<T> | InboxBatchHandler<T>

export function resolveBatchOptions(options: BatchOptions | undefined, concurrency: number): ResolvedBatchOptions | undefined {
  if (options === undefined) return undefined
  knownOptions(refuse, 'batch', options, ['maxSize', 'maxWaitMs'])
  return {
    // Larger ones would never be full.
    maxSize: integerOption(refuse, 'batch.maxSize', options.maxSize, 2, Math.min(1_000, concurrency)),
    maxWaitMs: integerOption(refuse, 'batch.maxWaitMs', options.maxWaitMs ?? 20, 1, 60_000),
  }
}
