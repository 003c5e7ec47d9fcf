const codes = {
  ERR_CACHE_OPTION: 'an option or argument is wrong; the message names it',
  ERR_CACHE_FACTORY_TIMEOUT: 'the factory took longer than hardTimeoutMs and no stale copy could stand in',
  ERR_CACHE_REENTRANT: 'a factory waits for itself; the message names the ring of keys',
  ERR_CACHE_NOT_SERIALIZABLE: 'the value cannot go through the serializer that l2 needs',
  ERR_CACHE_INVALIDATION_PENDING: 'done in this process and queued, but l2 or the bus has not confirmed it yet',
  ERR_CACHE_NO_AFTER_COMMIT: 'the transaction offers no afterCommit, so nothing can be bound to its commit',
  ERR_CACHE_NO_INTENT_STORE: 'invalidateAfterCommit needs a database for its intents: postgresBus or the option intents',
  ERR_CACHE_UNAVAILABLE: 'l2 or the bus did not answer',
  ERR_CACHE_REFUSED: 'l2 or the bus answered and will not take this',
  ERR_CACHE_CLOSED: 'the cache is closed',
} as const

export type CacheErrorCode = keyof typeof codes

const brand = Symbol.for('@platform/cache.CacheError')

/** The only error class of this package; match `code`. Never carries a cached value. */
export class CacheError extends Error {
  override readonly name: string = 'CacheError'
  readonly code: CacheErrorCode
  /** The cache's namespace, where one is concerned. */
  readonly namespace: string | undefined

  constructor(code: CacheErrorCode, message?: string, options: { cause?: unknown; namespace?: string | undefined } = {}) {
    super(message ?? codes[code], 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.namespace = options.namespace
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of every installed copy of this package. */
  static isInstance(error: unknown): error is CacheError {
    return typeof error === 'object' && error !== null && brand in error
  }
}

export function wrongOption(option: string, problem: string): CacheError {
  return new CacheError('ERR_CACHE_OPTION', `${option} ${problem}`)
}

/** What a factory has thrown, as the value of a key in a batch. */
export function failureOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error('the factory failed', { cause: thrown })
}

const requestFields = ['command', 'query', 'parameters', 'detail', 'where']

/** What a client says of a failure, without what it was asked: keys and values stand there. Its code stays. */
export function withoutRequest(error: unknown): unknown {
  if (!(error instanceof Error) || !requestFields.some((field) => field in error)) return error
  const { name, message, code } = error as Error & { code?: unknown }
  return Object.assign(new Error(message), { name }, code === undefined ? {} : { code })
}

/** The other side answered: sending the same again changes nothing, and it is not away. */
export function isRefusal(error: unknown): boolean {
  return CacheError.isInstance(error) && error.code === 'ERR_CACHE_REFUSED'
}
