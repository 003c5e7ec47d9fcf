import { durationOption, integerOption, knownOptions } from '@platform/kernel'
import type { ServiceError } from '../errors.ts'

export interface WatchdogOptions {
  /** The event loop is said to stall after this long without a turn. Default 1 000; at least 200. */
  stallMs?: number | undefined
  /** Liveness fails after this long: many times what your longest computation takes. Default 30 000. */
  failAfterMs?: number | undefined
  /** Where the thread answers `/live` by itself, while the main one cannot. 0 takes a free one. Default: nowhere. */
  port?: number | undefined
  /** Default 127.0.0.1. */
  host?: string | undefined
}

export interface ResolvedWatchdogOptions {
  readonly stallMs: number
  readonly failAfterMs: number
  readonly port: number | undefined
  readonly host: string
}

export function resolveWatchdog(
  options: WatchdogOptions,
  refuse: (option: string, problem: string) => ServiceError,
): ResolvedWatchdogOptions {
  knownOptions(refuse, 'watchdog', options, ['stallMs', 'failAfterMs', 'port', 'host'])
  const { stallMs = 1_000, failAfterMs = 30_000, port, host = '127.0.0.1' } = options
  return {
    stallMs: durationOption(refuse, 'watchdog.stallMs', stallMs, 200),
    failAfterMs: durationOption(refuse, 'watchdog.failAfterMs', failAfterMs, stallMs),
    port: port === undefined ? undefined : integerOption(refuse, 'watchdog.port', port, 0, 65_535),
    host,
  }
}
