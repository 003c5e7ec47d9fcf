import { onTestFinished } from 'vitest'
import {
  createDiscovery,
  type Discovery,
  type DiscoveryOptions,
  type Instance,
  type RegisteredInstance,
  type RegistryDriver,
} from './index.ts'

export const POLL = { timeout: 15_000, interval: 10 }
export const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
export const at = (port: number): Instance => ({ id: `shop-${port}`, service: 'shop', address: '127.0.0.1', port })
export const ports = (instances: readonly Instance[] | undefined): number[] | undefined => instances?.map(({ port }) => port)

/** What the registry has, what it was asked, and how it behaves. */
export interface ScriptedState {
  instances: readonly Instance[]
  version: number
  failure: Error | undefined
  silent: boolean
  reads: number
  puts: number
  /** What a write waits for before it takes effect. */
  gate: Promise<void> | undefined
  /** Sizes of the sets that were read. */
  answered: number[]
  entries: Map<string, RegisteredInstance>
  closed: number
}

export interface ScriptedRegistry {
  readonly driver: RegistryDriver
  readonly state: ScriptedState
  set(...instances: Instance[]): void
  fail(failure: Error | undefined): void
}

/** A registry whose behaviour the test decides. */
export function scriptedRegistry({ readTimeoutMs }: { readTimeoutMs?: number } = {}): ScriptedRegistry {
  const state: ScriptedState = {
    instances: [],
    version: 1,
    failure: undefined,
    silent: false,
    reads: 0,
    puts: 0,
    gate: undefined,
    answered: [],
    entries: new Map(),
    closed: 0,
  }
  let changed = Promise.withResolvers<void>()
  const wake = (): void => {
    changed.resolve()
    changed = Promise.withResolvers()
  }
  const orAbort = (promise: Promise<void>, signal: AbortSignal): Promise<void> =>
    Promise.race([promise, new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))])
  const failing = (): void => {
    if (state.failure !== undefined) throw state.failure
  }
  const driver: RegistryDriver = {
    name: 'scripted',
    open: () => ({
      readTimeoutMs,
      async read(_, { cursor, signal }) {
        state.reads++
        failing()
        while (state.silent || cursor === String(state.version)) {
          await orAbort(changed.promise, signal)
          failing()
        }
        state.answered.push(state.instances.length)
        return { instances: state.instances, cursor: String(state.version) }
      },
      registrations: {
        async put(instance) {
          failing()
          state.puts++
          await state.gate
          state.entries.set(instance.id, instance)
        },
        async confirm({ id }) {
          failing()
          return state.entries.has(id)
        },
        async remove(id) {
          failing()
          state.entries.delete(id)
        },
      },
      async close() {
        state.closed++
      },
    }),
  }
  const set = (...instances: Instance[]): void => {
    state.instances = instances
    state.version++
    wake()
  }
  const fail = (failure: Error | undefined): void => {
    state.failure = failure
    wake()
  }
  return { driver, state, set, fail }
}

export function discoveryOn(registry: DiscoveryOptions['registry'], options: Partial<DiscoveryOptions> = {}): Discovery {
  const discovery = createDiscovery({ registry, ...options })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  return discovery
}
