import type { Live } from './listeners.ts'

export interface FollowCredentialOptions<T, R> {
  /** Proves the new credential by using it: opens a pool and waits until it is ready. A rejection keeps the old one, for everyone. */
  open(next: T, options: { signal: AbortSignal; previous: T }): Promise<R>
  /** New work goes to what was opened; old work is led to its end. Must not fail. */
  use(opened: R): void
  /** It is not needed after all: another listener was not ready. */
  discard(opened: R): void | Promise<void>
}

/** Follows a credential in two phases: the new one is proven before anyone switches. Returns the unsubscribe. */
export function followCredential<T, R>(live: Live<T>, options: FollowCredentialOptions<T, R>): () => void {
  return live.onChange(async (next, previous, { signal }) => {
    const opened = await options.open(next, { signal, previous })
    return {
      commit: () => options.use(opened),
      abort: () => void Promise.resolve(options.discard(opened)).catch(() => {}),
    }
  })
}
