import { AsyncLocalStorage } from 'node:async_hooks'
import { refuseOption } from './errors.ts'

/** What the work inherits from whoever called: how long it may take, and whether it already is part of a retry. */
export interface CallContext {
  /** On this process's monotonic clock. */
  readonly deadlineAt: number | undefined
  /** Highest attempt of any caller up the line; above 1 nobody below retries, so that layers do not multiply. */
  readonly attempt: number
}

/** Remaining milliseconds, not a point in time: clocks of two machines need not agree. */
export const DEADLINE_HEADER = 'x-platform-deadline-ms'
export const ATTEMPT_HEADER = 'x-platform-attempt'

const context = new AsyncLocalStorage<CallContext>()

export function currentCallContext(): CallContext | undefined {
  return context.getStore()
}

export function runInCallContext<A, T>(value: CallContext, run: (argument: A) => T, argument: A): T {
  return context.run(value, run, argument)
}

export function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b)
}

/** Everything inside ends within `deadlineMs` from now, or within the outer deadline if that is sooner. */
export function withDeadline<T>(deadlineMs: number, run: () => T): T {
  if (typeof deadlineMs !== 'number' || Number.isNaN(deadlineMs)) throw refuseOption('deadlineMs', 'must be a number')
  const outer = context.getStore()
  return context.run({ deadlineAt: earlier(outer?.deadlineAt, performance.now() + deadlineMs), attempt: outer?.attempt ?? 1 }, run)
}

/** For work that others share or that outlives its starter, such as a single flight or a refresh behind an answer: no deadline comes from outside. */
export function withoutDeadline<T>(run: () => T): T {
  const outer = context.getStore()
  return outer?.deadlineAt === undefined ? run() : context.run({ deadlineAt: undefined, attempt: outer.attempt }, run)
}

interface InboundRequest {
  method: string
  url: string
  headers: Record<string, string | string[] | undefined>
}

/** InboundHook: takes over the caller's remaining time and attempt. Malformed values are ignored. */
export function deadlineHook<T>(request: InboundRequest, run: () => T): T {
  const deadlineMs = wholeNumber(request.headers[DEADLINE_HEADER])
  const attempt = wholeNumber(request.headers[ATTEMPT_HEADER])
  if (deadlineMs === undefined && attempt === undefined) return run()
  const outer = context.getStore()
  const deadlineAt = deadlineMs === undefined ? undefined : performance.now() + deadlineMs
  return context.run({ deadlineAt: earlier(outer?.deadlineAt, deadlineAt), attempt: Math.max(outer?.attempt ?? 1, attempt ?? 1) }, run)
}

/** OutboundHook: hands on what is left of the time, and the attempt when it is not the first. */
export function deadlineHeaders(headers: Record<string, string>): void {
  const current = context.getStore()
  if (current === undefined) return
  if (current.deadlineAt !== undefined) headers[DEADLINE_HEADER] = String(Math.max(0, Math.floor(current.deadlineAt - performance.now())))
  if (current.attempt > 1) headers[ATTEMPT_HEADER] = String(current.attempt)
}

function wholeNumber(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header[0] : header
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined
}
