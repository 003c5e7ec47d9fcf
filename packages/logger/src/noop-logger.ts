import { EventEmitter } from 'node:events'
import type { Logger } from './logger.ts'

const nothing = (): void => {}
const done = (): Promise<void> => Promise.resolve()

/** Logs nothing; for callers that were given no logger. */
export const noopLogger: Logger = Object.assign(new EventEmitter(), {
  level: 'silent',
  levelVal: Number.POSITIVE_INFINITY,
  levels: { labels: {}, values: {} },
  version: 'noop',
  useLevelLabels: false,
  useOnlyCustomLevels: false,
  customLevels: {},
  msgPrefix: undefined,
  onChild: nothing,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
  silent: nothing,
  child: () => noopLogger,
  bindings: () => ({}),
  setBindings: nothing,
  overrideLevel: nothing,
  isLevelEnabled: () => false,
  flush: (callback?: (error?: Error) => void) => callback?.(),
  stats: () => ({ written: 0, atRisk: 0, dropped: 0 }),
  close: done,
  [Symbol.asyncDispose]: done,
}) as unknown as Logger
