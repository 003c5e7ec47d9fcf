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

type Level = (fields: object, message?: string) => void

/** A user's logger, by pino's call signature, that can be called wherever nothing of ours may fail by it; without one, silence. */
export function safeLogger(logger: { debug: Level; info: Level; warn: Level; error: Level } | undefined): {
  debug: Level
  info: Level
  warn: Level
  error: Level
} {
  return {
    debug: (fields, message) => guarded(() => logger?.debug(fields, message)),
    info: (fields, message) => guarded(() => logger?.info(fields, message)),
    warn: (fields, message) => guarded(() => logger?.warn(fields, message)),
    error: (fields, message) => guarded(() => logger?.error(fields, message)),
  }
}
