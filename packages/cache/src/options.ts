import type { CacheDriver, LocalDriver, SharedDriver } from './driver.ts'
import { CacheError } from './errors.ts'
import type { InvalidationBus, QueryableLike } from './invalidation.ts'
import { jsonSerializer, type Serializer } from './serializer.ts'

/** pino's call signature. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export interface CacheOptions {
  /** Separates caches that share a server. 1 to 64 characters out of A-Z a-z 0-9 _ . - */
  namespace: string
  /** Memory of this process. At least one of l1 and l2 is needed. */
  l1?: CacheDriver | undefined
  /** A store shared by processes. */
  l2?: CacheDriver | undefined
  /** Keeps l1 coherent between processes; needs l1. */
  bus?: InvalidationBus | undefined
  /** How long a value is fresh. Up to a tenth is taken off at random, so that entries do not expire together. Required, > 0. */
  ttlMs: number
  /** How long after that a value may stand in when the factory fails. Default 0: never. */
  staleIfErrorMs?: number | undefined
  /** How long after ttlMs a value is served while one refresh runs behind. Default 0: never. */
  staleWhileRevalidateMs?: number | undefined
  /** A factory slower than this lets a stale copy be served. Default: none. Needs one of the two stale windows. */
  softTimeoutMs?: number | undefined
  /** A factory slower than this is aborted. Default: none. */
  hardTimeoutMs?: number | undefined
  /** How long l2 may take while a stale copy is at hand, and to store a value before its caller goes on. Default 50. Needs l2. */
  l2SoftTimeoutMs?: number | undefined
  /** How long l2 may take at all. Default 500. Needs l2. */
  l2HardTimeoutMs?: number | undefined
  /** The right to fill a key in l2; renewed at a third while the factory runs. Default 10000, at least 100. Needs l2. */
  leaseMs?: number | undefined
  /** How long to wait for another process that loads the same key, before loading without storing in l2. Default 3000. Needs l2. */
  leaseWaitMs?: number | undefined
  /** How long a copy lives in l1 when no bus vouches for it (no bus beside l2, bus `suspect`, l2 away). Default 1000; 0: not stored. Needs l2 or bus. */
  suspectTtlMs?: number | undefined
  /** After a failed refresh, how long the stale copy is served from l1 before the next attempt. Default 1000. Needs a stale window. */
  errorBackoffMs?: number | undefined
  /** Values longer than this, serialized, are not stored in l2. Default 1 MiB (characters). Needs l2. */
  maxEntryBytes?: number | undefined
  /** Default JSON. Needs l2. */
  serializer?: Serializer | undefined
  /** Where invalidateAfterCommit keeps its intents, in the database of the transactions. Default: the database of the bus, if it has one. */
  intents?: { db: QueryableLike; sweepIntervalMs?: number | undefined } | undefined
  logger?: LoggerLike | undefined
}

export interface ResolvedCacheOptions {
  readonly namespace: string
  readonly l1: LocalDriver | undefined
  readonly l2: SharedDriver | undefined
  readonly bus: InvalidationBus | undefined
  readonly ttlMs: number
  readonly staleIfErrorMs: number
  readonly staleWhileRevalidateMs: number
  readonly softTimeoutMs: number | undefined
  readonly hardTimeoutMs: number | undefined
  readonly l2SoftTimeoutMs: number
  readonly l2HardTimeoutMs: number
  readonly leaseMs: number
  readonly leaseWaitMs: number
  readonly suspectTtlMs: number
  readonly errorBackoffMs: number
  readonly maxEntryBytes: number
  readonly serializer: Serializer
  readonly intents: { readonly db: QueryableLike; readonly sweepIntervalMs: number } | undefined
  readonly logger: LoggerLike | undefined
}

const known = new Set<string>([
  'namespace',
  'l1',
  'l2',
  'bus',
  'ttlMs',
  'staleIfErrorMs',
  'staleWhileRevalidateMs',
  'softTimeoutMs',
  'hardTimeoutMs',
  'l2SoftTimeoutMs',
  'l2HardTimeoutMs',
  'leaseMs',
  'leaseWaitMs',
  'suspectTtlMs',
  'errorBackoffMs',
  'maxEntryBytes',
  'serializer',
  'intents',
  'logger',
] satisfies (keyof CacheOptions)[])
const needL2 = ['l2SoftTimeoutMs', 'l2HardTimeoutMs', 'leaseMs', 'leaseWaitMs', 'maxEntryBytes', 'serializer'] as const

export function fail(message: string): never {
  throw new CacheError('ERR_CACHE_OPTIONS', message)
}

/** A finite number not below `least`, or the default. */
export function numberOption(name: string, value: number | undefined, fallback: number, least: number): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !Number.isFinite(value) || value < least) fail(`${name} must be a finite number >= ${least}`)
  return value
}

function optionalNumber(name: string, value: number | undefined, least: number): number | undefined {
  return value === undefined ? undefined : numberOption(name, value, 0, least)
}

export function resolveOptions(options: CacheOptions): ResolvedCacheOptions {
  for (const name of Object.keys(options)) if (!known.has(name)) fail(`unknown option ${name}`)
  const { namespace, l1, l2, bus, intents } = options
  if (typeof namespace !== 'string' || !/^[\w.-]{1,64}$/.test(namespace))
    fail('namespace must be 1 to 64 characters out of A-Z a-z 0-9 _ . -')
  if (!l1 && !l2) fail('l1 or l2 is needed; for no cache at all there is noopCache')
  if (l1 && l1.layer !== 'local') fail(`l1 must be a local driver, ${l1.name} is not`)
  if (l2 && l2.layer !== 'shared') fail(`l2 must be a shared driver, ${l2.name} is not`)
  if (bus && !l1) fail('bus needs l1: it has nothing to keep coherent')
  if (options.ttlMs === undefined) fail('ttlMs is required')
  const staleIfErrorMs = numberOption('staleIfErrorMs', options.staleIfErrorMs, 0, 0)
  const staleWhileRevalidateMs = numberOption('staleWhileRevalidateMs', options.staleWhileRevalidateMs, 0, 0)
  if (staleIfErrorMs + staleWhileRevalidateMs === 0) {
    for (const name of ['softTimeoutMs', 'errorBackoffMs'] as const)
      if (options[name] !== undefined) fail(`${name} needs staleIfErrorMs or staleWhileRevalidateMs: without them there is no stale copy`)
  }
  if (!l2) for (const name of needL2) if (options[name] !== undefined) fail(`${name} needs l2`)
  if (!l2 && !bus && options.suspectTtlMs !== undefined) fail('suspectTtlMs needs l2 or bus')
  const db = intents?.db ?? bus?.db
  return {
    namespace,
    l1: l1 as LocalDriver | undefined,
    l2: l2 as SharedDriver | undefined,
    bus,
    ttlMs: numberOption('ttlMs', options.ttlMs, 0, 1),
    staleIfErrorMs,
    staleWhileRevalidateMs,
    softTimeoutMs: optionalNumber('softTimeoutMs', options.softTimeoutMs, 0),
    hardTimeoutMs: optionalNumber('hardTimeoutMs', options.hardTimeoutMs, 1),
    l2SoftTimeoutMs: numberOption('l2SoftTimeoutMs', options.l2SoftTimeoutMs, 50, 1),
    l2HardTimeoutMs: numberOption('l2HardTimeoutMs', options.l2HardTimeoutMs, 500, 1),
    leaseMs: numberOption('leaseMs', options.leaseMs, 10_000, 100),
    leaseWaitMs: numberOption('leaseWaitMs', options.leaseWaitMs, 3_000, 0),
    suspectTtlMs: numberOption('suspectTtlMs', options.suspectTtlMs, 1_000, 0),
    errorBackoffMs: numberOption('errorBackoffMs', options.errorBackoffMs, 1_000, 0),
    maxEntryBytes: numberOption('maxEntryBytes', options.maxEntryBytes, 1_048_576, 1),
    serializer: options.serializer ?? jsonSerializer,
    intents: db ? { db, sweepIntervalMs: numberOption('intents.sweepIntervalMs', intents?.sweepIntervalMs, 30_000, 100) } : undefined,
    logger: options.logger,
  }
}

/** Keys are 1 to 1024 characters, tags too. */
export function checkName(kind: 'key' | 'tag', name: string): void {
  if (typeof name !== 'string' || name.length === 0 || name.length > 1024) fail(`a ${kind} must be a string of 1 to 1024 characters`)
}
