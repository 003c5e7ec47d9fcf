/**
 * Calls what a user gave (a callback, a logger, a getter) where nothing of ours may fail by it. Its error, thrown or rejected, goes to `failed`;
 * an error of that is dropped.
 */
export function guarded<T>(call: () => T, failed: (error: unknown) => void = () => {}): T | undefined {
  const report = (error: unknown): void => {
    try {
      failed(error)
    } catch {
      // Nobody is left to be told.
    }
  }
  try {
    const result = call()
    // A thenable's own `then` is the user's code too.
    if (typeof (result as { then?: unknown } | undefined | null)?.then === 'function') {
      Promise.resolve(result).catch(report)
    }
    return result
  } catch (error) {
    report(error)
    return undefined
  }
}
