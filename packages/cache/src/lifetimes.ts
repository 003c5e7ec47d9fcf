import { durationOption, knownOptions, numberOption } from '@platform/kernel'
import type { LoadOptions, StoreOptions } from './contract.ts'
import { wrongOption } from './errors.ts'
import type { LocalWrite } from './local-layer.ts'

/** Ten years: longer than anything is worth keeping, and within what Redis counts. */
const longestLifeMs = 315_360_000_000

/** How long a value is good for what, and how long its factory may take: the cache's options, or those of one call. */
export interface Lifetimes {
  readonly ttlMs: number
  readonly errorMs: number
  readonly revalidateMs: number
  readonly softMs: number | undefined
  readonly hardMs: number | undefined
  /** The share of the fresh time after which one request refreshes behind; 1: never. */
  readonly earlyShare: number
}

export function lifeOption(option: string, value: number | undefined, least: number): number {
  return numberOption(wrongOption, option, value, least, longestLifeMs)
}

const storing = ['ttlMs', 'tags', 'signal', 'staleIfErrorMs', 'staleWhileRevalidateMs'] as const satisfies (keyof StoreOptions)[]
const loading = [...storing, 'schema', 'after', 'softTimeoutMs', 'hardTimeoutMs'] as const satisfies (keyof LoadOptions)[]

/** Those of one call that loads or only stores; what it does not name is the cache's. */
export function lifetimesOf(standing: Lifetimes, call: LoadOptions | undefined, does: 'load' | 'store'): Lifetimes {
  if (call === undefined) return standing
  knownOptions(wrongOption, '', call, does === 'load' ? loading : storing)
  const { ttlMs, staleIfErrorMs, staleWhileRevalidateMs, softTimeoutMs, hardTimeoutMs } = call
  if ((ttlMs ?? staleIfErrorMs ?? staleWhileRevalidateMs ?? softTimeoutMs ?? hardTimeoutMs) === undefined) return standing
  const errorMs = staleIfErrorMs === undefined ? standing.errorMs : lifeOption('staleIfErrorMs', staleIfErrorMs, 0)
  const revalidateMs =
    staleWhileRevalidateMs === undefined ? standing.revalidateMs : lifeOption('staleWhileRevalidateMs', staleWhileRevalidateMs, 0)
  if (softTimeoutMs !== undefined && errorMs + revalidateMs === 0)
    throw wrongOption('softTimeoutMs', 'needs staleIfErrorMs or staleWhileRevalidateMs: without them there is no stale copy')
  return {
    ttlMs: ttlMs === undefined ? standing.ttlMs : lifeOption('ttlMs', ttlMs, 1),
    errorMs,
    revalidateMs,
    softMs: softTimeoutMs === undefined ? standing.softMs : durationOption(wrongOption, 'softTimeoutMs', softTimeoutMs, 0),
    hardMs: hardTimeoutMs === undefined ? standing.hardMs : durationOption(wrongOption, 'hardTimeoutMs', hardTimeoutMs, 1),
    earlyShare: standing.earlyShare,
  }
}

/** Up to a tenth is taken off, so that entries do not expire together. */
export function spreadMs(ttlMs: number): number {
  return ttlMs * (1 - Math.random() / 10)
}

/** How long a store keeps an entry that is fresh for so long. */
export function retainMs(freshMs: number, { errorMs, revalidateMs }: Lifetimes): number {
  return freshMs + Math.max(errorMs, revalidateMs)
}

type Lives = Pick<LocalWrite, 'freshMs' | 'earlyMs' | 'errorMs' | 'revalidateMs'>

/** Those of a value that has just been made and is fresh for so long. */
export function livesOf(freshMs: number, { errorMs, revalidateMs, earlyShare }: Lifetimes): Lives {
  return { freshMs, errorMs, revalidateMs, earlyMs: freshMs * (1 - earlyShare) }
}

/** Those of what l2 holds and will be fresh for so long: how long it was in all is not known, so the call's ttl stands for it. */
export function livesLeft(freshMs: number, lifetimes: Lifetimes): Lives {
  const { errorMs, revalidateMs } = lifetimes
  return { freshMs, errorMs, revalidateMs, earlyMs: earlyMs(lifetimes) }
}

/** Rest of the fresh time of an entry of l2 below which a refresh behind begins; 0: never. */
export function earlyMs({ ttlMs, earlyShare }: Lifetimes): number {
  return ttlMs * (1 - earlyShare)
}
