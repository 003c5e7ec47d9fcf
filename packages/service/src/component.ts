import type { Check, CheckKind, Health } from '@platform/health'

/** What a service starts and stops. Every member but `close` may be absent. */
export interface Component {
  /** Resolves when usable; rejects with `signal.reason` as soon as the start is given up. */
  ready?(options?: { signal?: AbortSignal }): Promise<void>
  /**
   * Healthy: resolves. Usable but not well: resolves to a warning. Otherwise rejects. Called in the background when `component(…, { check })`
   * asks for it.
   */
  check?(options?: { signal?: AbortSignal }): Promise<void | { status: 'warn'; message: string }>
  /** Called once before the start, for what a component has to say to the service's health by itself: a heartbeat. */
  attachHealth?(name: string, health: Health): void
  /** Stop taking work of your own accord (polling, consuming). Quick, idempotent. What others still ask for must go on being served. */
  quiesce?(): void | Promise<void>
  /** Finish what is in flight; give up when the signal aborts, which is `timeoutMs` from now at the latest. */
  drain?(options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<void>
  /** Free everything; cut at the timeout. Called for every component, also for one that never became ready. Idempotent. */
  close(options?: { timeoutMs?: number }): Promise<void>
}

/** A kind alone, or with the times of `@platform/health`: `{ kind: 'critical', intervalMs: 1_000 }`. */
export type ComponentCheck = CheckKind | Omit<Check, 'run'>

export interface ComponentOptions {
  /** Names of the components that must be ready before this one starts, and that are closed after it. Default: none. */
  needs?: readonly string[] | undefined
  /**
   * The service's health calls the component's `check()` in the background: `critical` (readiness fails with it), `shared` (every replica has
   * the same dependency: readiness only warns) or `optional` (shown, without effect). Default: it is not checked.
   */
  check?: ComponentCheck | undefined
}

export interface Wiring {
  readonly needs: readonly string[]
  readonly check: ComponentCheck | undefined
}

/** A property, not a map of ours: two installed copies of this package see the same. Frozen objects cannot carry it. */
const WIRING = Symbol.for('@platform/service/wiring')
const wiringOfFrozen = new WeakMap<object, Wiring>()
const none: Wiring = { needs: [], check: undefined }

/**
 * Says what a component needs and how its health counts. Returns the same object, so that prototype, private fields and identity stay. Called
 * again, it says it anew.
 */
export function component<C extends Component>(component: C, options: ComponentOptions): C {
  const wiring: Wiring = { needs: [...(options.needs ?? [])], check: options.check }
  if (Object.isExtensible(component)) {
    Object.defineProperty(component, WIRING, { value: wiring, configurable: true, enumerable: false, writable: true })
  } else {
    wiringOfFrozen.set(component, wiring)
  }
  return component
}

export function wiringOf(component: Component): Wiring {
  return wiringOfFrozen.get(component) ?? (component as { [WIRING]?: Wiring })[WIRING] ?? none
}
