import type { Cache } from '../contract.ts'
import { failureOf } from '../errors.ts'

const never = new AbortController().signal

/** Stores nothing: every request runs its factory. */
export const noopCache: Cache = {
  async getOrSet(_key, factory, options) {
    options?.signal?.throwIfAborted()
    const nothing = { tag: () => undefined, skip: () => undefined, previous: undefined }
    return factory({ signal: options?.signal ?? never, ttlMs: options?.ttlMs ?? 0, ...nothing })
  },
  async getOrSetMany(keys, factory, options) {
    options?.signal?.throwIfAborted()
    const asked = [...new Set(keys)]
    const made = async () => factory(asked, { signal: options?.signal ?? never, previous: new Map() })
    const values = await made().catch((error: unknown) => new Map(asked.map((key) => [key, failureOf(error)])))
    return new Map(asked.flatMap((key) => (values.get(key) === undefined ? [] : [[key, values.get(key) as never]])))
  },
  async get() {
    return undefined
  },
  async set() {},
  async delete() {},
  async deleteMany() {},
  async deleteByTag() {},
  async clear() {},
  invalidateAfterCommit() {},
  token: async () => '1.source.00000000-0000-0000-0000-000000000000',
  explain: async (key) => ({ key, l1: 'none', l2: 'none', load: 'none', coherence: 'coherent', next: 'run the factory' }),
  stats: () => ({
    hits: 0,
    misses: 0,
    stale: 0,
    errors: 0,
    hitRate: 0,
    coherence: 'coherent',
    entries: 0,
    bytes: 0,
    evictions: 0,
    pendingInvalidations: 0,
    faults: 0,
  }),
  async ready() {},
  async check() {},
  async close() {},
  async [Symbol.asyncDispose]() {},
}
