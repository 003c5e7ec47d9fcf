import { choiceOption, durationOption, integerOption, knownOptions } from '@platform/kernel'
import { type Isolation, jsonSerializer, type Serializer } from './codec.ts'
import type { CacheDriver, LocalDriver, SharedDriver } from './driver.ts'
import { wrongOption } from './errors.ts'
import type { InvalidationBus, QueryableLike } from './invalidation.ts'
import { type Lifetimes, lifeOption } from './lifetimes.ts'

/** pino's call signature. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/** What copies in l1 are worth while the bus is not confirmed. */
export type SuspectPolicy = 'serve' | 'shorten' | 'bypass'

export interface CacheOptions {
  /** Separates caches that share a server. 1 to 64 characters out of A-Z a-z 0-9 _ . - */
  namespace: string
  /** Memory of this process. At least one of l1 and l2 is needed. */
  l1?: CacheDriver | undefined
  /** A store shared by processes. */
  l2?: CacheDriver | undefined
  /** Keeps l1 coherent between processes; needs l1. */
  bus?: InvalidationBus | undefined
  /** How long a value is fresh. Up to a tenth is taken off at random, so that entries do not expire together. Required, 1 to ten years. */
  ttlMs: number
  /** How long after that a value may stand in when the factory fails. Default 0: never. At most ten years. */
  staleIfErrorMs?: number | undefined
  /** How long after ttlMs a value is served while one refresh runs behind. Default 0: never. At most ten years. */
  staleWhileRevalidateMs?: number | undefined
  /** The share of the fresh time after which the next request refreshes behind, before anything is stale. Above 0, below 1. Default: never. */
  earlyRefresh?: number | undefined
  /** A load slower than this lets a stale copy be served. Default: none. Needs one of the two stale windows. */
  softTimeoutMs?: number | undefined
  /** A factory slower than this is aborted. Default: none. At most 2147483647. */
  hardTimeoutMs?: number | undefined
  /** How long l2 may take while a stale copy is at hand, and to store a value before its caller goes on. Default 50. Needs l2. */
  l2SoftTimeoutMs?: number | undefined
  /** How long one operation of l2 may take; also how long set, delete, deleteMany, deleteByTag and clear wait at most. Default 500. */
  l2HardTimeoutMs?: number | undefined
  /** The right to fill a key in l2; renewed at a third while the factory runs, and open to others after four of them. Default 1500, at least 100. Needs l2. */
  leaseMs?: number | undefined
  /** How long to wait for another process that loads the same key, before loading without storing in l2. Default 3000. Needs l2. */
  leaseWaitMs?: number | undefined
  /** How long a copy lives in l1 when no bus vouches for it (no bus beside l2, bus `suspect`, l2 away). Default 1000; 0: not stored. Needs l2 or bus. */
  suspectTtlMs?: number | undefined
  /**
   * Copies in l1 while the bus is not confirmed. `shorten` (default): those from before go, new ones live for suspectTtlMs. `serve`: they count as
   * if nothing had happened; old values for at most their ttl. `bypass`: l1 is not used. Needs bus.
   */
  suspect?: SuspectPolicy | undefined
  /** After a failed refresh, how long the stale copy is served from l1 before the next attempt. Default 1000. Needs a stale window or earlyRefresh. */
  errorBackoffMs?: number | undefined
  /** Values longer than this, serialized, are not stored in l2. Default 1 MiB (characters, or bytes of a binary serializer). Needs l2. */
  maxEntryBytes?: number | undefined
  /** How l1 hands values out. `shared` (default): by reference. `frozen`: frozen. `copied`: a structured clone for each caller. Needs l1. */
  values?: Isolation | undefined
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
  readonly lifetimes: Lifetimes
  readonly l2SoftTimeoutMs: number
  readonly l2HardTimeoutMs: number
  readonly leaseMs: number
  readonly leaseWaitMs: number
  readonly suspectTtlMs: number
  readonly suspect: SuspectPolicy
  readonly errorBackoffMs: number
  readonly maxEntryBytes: number
  readonly values: Isolation
  readonly serializer: Serializer
  readonly intents: { readonly db: QueryableLike; readonly sweepIntervalMs: number } | undefined
  readonly logger: LoggerLike | undefined
}

const known = [
  'namespace',
  'l1',
  'l2',
  'bus',
  'ttlMs',
  'staleIfErrorMs',
  'staleWhileRevalidateMs',
  'earlyRefresh',
  'softTimeoutMs',
  'hardTimeoutMs',
  'l2SoftTimeoutMs',
  'l2HardTimeoutMs',
  'leaseMs',
  'leaseWaitMs',
  'suspectTtlMs',
  'suspect',
  'errorBackoffMs',
  'maxEntryBytes',
  'values',
  'serializer',
  'intents',
  'logger',
] as const satisfies (keyof CacheOptions)[]
const needL2 = ['l2SoftTimeoutMs', 'leaseMs', 'leaseWaitMs', 'maxEntryBytes', 'serializer'] as const

export function resolveOptions(options: CacheOptions): ResolvedCacheOptions {
  knownOptions(wrongOption, '', options, known)
  const { namespace, l1, l2, bus } = options
  const needs = (option: keyof CacheOptions, need: string): void => {
    if (options[option] !== undefined) throw wrongOption(option, `needs ${need}`)
  }
  if (typeof namespace !== 'string' || !/^[\w.-]{1,64}$/.test(namespace))
    throw wrongOption('namespace', 'must be 1 to 64 characters out of A-Z a-z 0-9 _ . -')
  if (!l1 && !l2) throw wrongOption('l1 or l2', 'is needed; for no cache at all there is noopCache')
  if (l1 && l1.layer !== 'local') throw wrongOption('l1', `must be a local driver, ${l1.name} is not`)
  if (l2 && l2.layer !== 'shared') throw wrongOption('l2', `must be a shared driver, ${l2.name} is not`)
  if (bus && (typeof bus.open !== 'function' || !(bus.heartbeatMs > 0) || !(bus.maxPayloadBytes > 0)))
    throw wrongOption('bus', 'must be a bus: have open, heartbeatMs and maxPayloadBytes')
  if (!l1) needs('bus', 'l1: it has nothing to keep coherent')
  if (!l1) needs('values', 'l1')
  if (!bus) needs('suspect', 'bus')
  if (!l2) for (const option of needL2) needs(option, 'l2')
  if (!l2 && !bus) for (const option of ['suspectTtlMs', 'l2HardTimeoutMs'] as const) needs(option, 'l2 or bus')
  const lifetimes = resolveLifetimes(options)
  if (lifetimes.errorMs + lifetimes.revalidateMs === 0) {
    const missing = 'staleIfErrorMs or staleWhileRevalidateMs: without them there is no stale copy'
    needs('softTimeoutMs', missing)
    if (lifetimes.earlyShare === 1) needs('errorBackoffMs', missing)
  }
  const life = (option: 'suspectTtlMs' | 'errorBackoffMs', fallback: number): number => lifeOption(option, options[option] ?? fallback, 0)
  const wait = (option: 'l2SoftTimeoutMs' | 'l2HardTimeoutMs' | 'leaseMs' | 'leaseWaitMs', fallback: number, least: number): number =>
    durationOption(wrongOption, option, options[option] ?? fallback, least)
  return {
    namespace,
    l1: l1 as LocalDriver | undefined,
    l2: l2 as SharedDriver | undefined,
    bus,
    lifetimes,
    l2SoftTimeoutMs: wait('l2SoftTimeoutMs', 50, 1),
    l2HardTimeoutMs: wait('l2HardTimeoutMs', 500, 1),
    leaseMs: wait('leaseMs', 1_500, 100),
    leaseWaitMs: wait('leaseWaitMs', 3_000, 0),
    suspectTtlMs: life('suspectTtlMs', 1_000),
    suspect: choiceOption(wrongOption, 'suspect', options.suspect ?? 'shorten', ['serve', 'shorten', 'bypass']),
    errorBackoffMs: life('errorBackoffMs', 1_000),
    maxEntryBytes: integerOption(wrongOption, 'maxEntryBytes', options.maxEntryBytes ?? 1_048_576, 1),
    values: choiceOption(wrongOption, 'values', options.values ?? 'shared', ['shared', 'frozen', 'copied']),
    serializer: resolveSerializer(options.serializer),
    intents: resolveIntents(options),
    logger: options.logger,
  }
}

function resolveLifetimes(options: CacheOptions): Lifetimes {
  const { softTimeoutMs, hardTimeoutMs, earlyRefresh } = options
  if (earlyRefresh !== undefined && !(earlyRefresh > 0 && earlyRefresh < 1))
    throw wrongOption('earlyRefresh', 'must be a share above 0 and below 1')
  return {
    ttlMs: lifeOption('ttlMs', options.ttlMs, 1),
    errorMs: lifeOption('staleIfErrorMs', options.staleIfErrorMs ?? 0, 0),
    revalidateMs: lifeOption('staleWhileRevalidateMs', options.staleWhileRevalidateMs ?? 0, 0),
    softMs: softTimeoutMs === undefined ? undefined : durationOption(wrongOption, 'softTimeoutMs', softTimeoutMs, 0),
    hardMs: hardTimeoutMs === undefined ? undefined : durationOption(wrongOption, 'hardTimeoutMs', hardTimeoutMs, 1),
    earlyShare: earlyRefresh ?? 1,
  }
}

function resolveIntents({ intents, bus }: CacheOptions): ResolvedCacheOptions['intents'] {
  if (intents) knownOptions(wrongOption, 'intents', intents, ['db', 'sweepIntervalMs'])
  const db = intents?.db ?? bus?.db
  if (!db && !intents) return undefined
  if (typeof db?.query !== 'function') throw wrongOption('intents.db', 'must be a database: have query')
  return { db, sweepIntervalMs: durationOption(wrongOption, 'intents.sweepIntervalMs', intents?.sweepIntervalMs ?? 30_000, 100) }
}

function resolveSerializer(serializer: Serializer = jsonSerializer): Serializer {
  if (typeof serializer?.encode !== 'function' || typeof serializer.decode !== 'function' || !/^[\w.-]{1,32}$/.test(serializer.name))
    throw wrongOption('serializer', 'must have encode, decode and a name of 1 to 32 characters out of A-Z a-z 0-9 _ . -')
  return serializer
}
