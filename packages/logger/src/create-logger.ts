import { type Bindings as PinoBindings, type ChildLoggerOptions, type Logger as PinoLogger, pino } from 'pino'
import { openDestination } from './destination.ts'
import type { Format } from './format.ts'
import { ecsFormat } from './formats/ecs.ts'
import { jsonFormat } from './formats/json.ts'
import { prettyFormat } from './formats/pretty.ts'
import { LoggerMetrics } from './instrumentation.ts'
import { type Bindings, LineComposer, type Serializers } from './line.ts'
import type { Logger } from './logger.ts'
import { type LoggerOptions, must, type ResolvedLoggerOptions, resolveOptions } from './options.ts'
import { Redaction } from './redact.ts'
import { Sink } from './sink.ts'

const bindingsKey: unique symbol = Symbol('bindings')
const warn = 40

type Bound = PinoLogger & { [bindingsKey]: Bindings }

/**
 * A pino logger whose lines are made and written here: pino gives the levels, the children and the calls. Throws
 * `ERR_LOGGER_OPTION` for a wrong option; after that nothing throws.
 */
export function createLogger(options: LoggerOptions): Logger {
  const resolved = resolveOptions(options)
  const composer = new LineComposer(new Redaction(resolved.keys, resolved.values), resolved.limits, formatOf(resolved))
  const linesByLevel = new Map<string, number>()
  const sink = new Sink(openDestination(resolved.destination), {
    maxBytes: resolved.bufferBytes,
    onRecovery: (dropped) => base.warn({ dropped }, 'log lines were dropped while the destination took none'),
  })
  const metrics = new LoggerMetrics({ linesByLevel, dropped: () => sink.stats.dropped })

  function writeLine(this: PinoLogger, args: unknown[], _method: unknown, levelValue: number): void {
    try {
      const level = this.levels.labels[levelValue] ?? String(levelValue)
      const { [bindingsKey]: bindings, msgPrefix } = this as Bound
      sink.write(composer.compose(level, levelValue, bindings, msgPrefix, args), levelValue >= warn)
      linesByLevel.set(level, (linesByLevel.get(level) ?? 0) + 1)
      metrics.bind()
    } catch {
      sink.write(composer.compose('error', 50, noBindings, undefined, ['a line could not be made']), true)
    }
  }

  // pino's own stream gets nothing but the call after a fatal line.
  const base = pino({ level: resolved.level, base: null, timestamp: false, hooks: { logMethod: writeLine } }, {
    write() {},
    flushSync: () => sink.flush(),
  } as pino.DestinationStream)
  return extend(base as Bound, sink, metrics)
}

const noBindings: Bindings = { fields: {}, serializers: undefined }

/** Replaces what pino does with bindings (it renders them itself, unredacted and doubled) and adds the end of life. */
function extend(base: Bound, sink: Sink, metrics: LoggerMetrics): Logger {
  const makeChild = base.child as unknown as (this: Bound, bindings: object, options?: object) => Bound
  let closing: Promise<void> | undefined
  const flushOnly = (): Promise<void> => {
    sink.flush()
    return Promise.resolve()
  }
  const members = {
    [bindingsKey]: noBindings,
    child(this: Bound, bindings: PinoBindings, options?: ChildLoggerOptions) {
      must(options?.redact === undefined && options?.formatters === undefined, 'child', 'without redact and formatters')
      const { serializers, ...rest } = options ?? {}
      const child = makeChild.call(this, {}, options && rest)
      child[bindingsKey] = joined(this[bindingsKey], bindings, serializers)
      return Object.assign(child, { close: flushOnly, [Symbol.asyncDispose]: flushOnly })
    },
    bindings(this: Bound) {
      return { ...this[bindingsKey].fields }
    },
    setBindings(this: Bound, bindings: PinoBindings) {
      this[bindingsKey] = joined(this[bindingsKey], bindings, undefined)
    },
    flush(callback?: (error?: Error) => void) {
      sink.flush()
      callback?.()
    },
    stats: () => sink.stats,
    close({ timeoutMs = 1_000 }: { timeoutMs?: number | undefined } = {}) {
      must(Number.isFinite(timeoutMs) && timeoutMs >= 0, 'timeoutMs', 'a number of milliseconds from 0')
      closing ??= sink.close(timeoutMs).finally(() => metrics.release())
      return closing
    },
    [Symbol.asyncDispose]: () => members.close(),
  }
  return Object.assign(base, members) as unknown as Logger
}

function joined(parent: Bindings, bindings: object, serializers: unknown): Bindings {
  const all = serializers ? ({ ...parent.serializers, ...serializers } as Serializers) : parent.serializers
  try {
    return { fields: { ...parent.fields, ...bindings }, serializers: all }
  } catch {
    return { fields: { ...parent.fields, bindings: '[unreadable]' }, serializers: all }
  }
}

function formatOf({ format, name, destination }: ResolvedLoggerOptions): Format {
  switch (format) {
    case 'json':
      return jsonFormat(name)
    case 'ecs':
      return ecsFormat(name)
    case 'pretty':
      return prettyFormat(name, destination)
  }
}
