/** What a service starts and stops. Every member but `close` may be absent. */
export interface Component {
  /** Resolves when usable; rejects with `signal.reason` as soon as the start is given up. */
  ready?(options?: { signal?: AbortSignal }): Promise<void>
  /** Healthy: resolves. Usable but not well: resolves to a warning. Otherwise rejects. Not called by the service. */
  check?(options?: { signal?: AbortSignal }): Promise<void | { status: 'warn'; message: string }>
  /** Stop taking work of your own accord (polling, consuming). Quick, idempotent. What others still ask for must go on being served. */
  quiesce?(): void | Promise<void>
  /** Finish what is in flight; give up when the signal aborts. */
  drain?(options?: { signal?: AbortSignal }): Promise<void>
  /** Free everything; cut at the timeout. Called for every component, also for one that never became ready. Idempotent. */
  close(options?: { timeoutMs?: number }): Promise<void>
}

/** Frozen objects cannot carry a property. */
const needsOfFrozen = new WeakMap<object, readonly string[]>()

/**
 * Says which components must be ready before this one starts, and be closed after it. Returns the same object, so that prototype, private
 * fields and identity stay; the names become a non-enumerable property `needs`.
 */
export function component<C extends Component>(component: C, options: { needs: readonly string[] }): C & { needs: readonly string[] } {
  const needs = [...options.needs]
  if (Object.isExtensible(component)) {
    Object.defineProperty(component, 'needs', { value: needs, configurable: true, enumerable: false, writable: true })
  } else {
    needsOfFrozen.set(component, needs)
  }
  return component as C & { needs: readonly string[] }
}

export function needsOf(component: Component & { needs?: readonly string[] }): readonly string[] {
  return needsOfFrozen.get(component) ?? component.needs ?? []
}
