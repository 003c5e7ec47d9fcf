import type { Instance, RegistryDriver } from '../registry.ts'

/** A registry that says what the test says: nothing at all before `set`. */
export interface SettableRegistry {
  readonly driver: RegistryDriver
  set(service: string, instances: readonly Omit<Instance, 'id' | 'service'>[]): void
}

export function settableRegistry(): SettableRegistry {
  const sets = new Map<string, { instances: readonly Instance[]; version: number }>()
  let changed = Promise.withResolvers<void>()
  const driver: RegistryDriver = {
    name: 'settable',
    open: () => ({
      readTimeoutMs: undefined,
      async read(service, { cursor, signal }) {
        const gone = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
        gone.catch(() => {})
        for (;;) {
          const known = sets.get(service)
          if (known !== undefined && String(known.version) !== cursor) return { instances: known.instances, cursor: String(known.version) }
          await Promise.race([changed.promise, gone])
        }
      },
      async close() {},
    }),
  }
  return {
    driver,
    set(service, instances) {
      const version = (sets.get(service)?.version ?? 0) + 1
      sets.set(service, { version, instances: instances.map((place) => ({ id: `${place.address}:${place.port}`, service, ...place })) })
      changed.resolve()
      changed = Promise.withResolvers()
    },
  }
}
