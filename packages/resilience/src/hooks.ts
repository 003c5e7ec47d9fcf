/** A hook observes; what it throws must not change the call. */
export function callHook<E>(hook: ((event: E) => void) | undefined, event: E): void {
  if (hook === undefined) return
  try {
    hook(event)
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), 'ResilienceHookWarning')
  }
}
