import { guarded } from '@platform/kernel'

/** A hook observes; what it throws, or rejects with, must not change the call. */
export function callHook<E>(hook: ((event: E) => unknown) | undefined, event: E): void {
  if (hook === undefined) return
  guarded(
    () => hook(event),
    (error) => process.emitWarning(error instanceof Error ? error : String(error), 'ResilienceHookWarning'),
  )
}
