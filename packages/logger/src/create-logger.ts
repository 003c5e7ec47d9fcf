import { channel } from 'node:diagnostics_channel'
import { durationOption, guarded } from '@platform/kernel'
import { type Bindings as PinoBindings, type ChildLoggerOptions, type Logger as PinoLogger, pino } from 'pino'
import type { Format } from './format.ts'
import { ecsFormat } from './formats/ecs.ts'
import { jsonFormat } from './formats/json.ts'
import { prettyFormat } from './formats/pretty.ts'
import { LoggerMetrics } from './instrumentation.ts'
import { type Fields, Layer, type Serializers } from './layer.ts'
import { LevelOverrides } from './level-overrides.ts'
import { LineComposer } from './line.ts'
import type { Logger } from './logger.ts'
import { levels, type LoggerOptions, must, refuse, type ResolvedLoggerOptions, resolveOptions } from './options.ts'
import { Redaction } from './redaction/redaction.ts'
import { Repeats } from './repeats.ts'
import { listenForRequests } from './request-events.ts'
import { closeSink, openSink } from './shared-sinks.ts'
import type { Outlet, Sink, SinkStats } from './sink.ts'

const bindingsKey: unique symbol = Symbol('bindings')
const warn = 40
/** Each line, for whoever brings lines elsewhere as well; `@platform/telemetry` does. A subscriber that throws is told to the process, not here. */
const written = channel('platform.logger.line')

type Bound = PinoLogger & { [bindingsKey]: Layer | undefined }

/**
 * A pino logger whose lines are made and written here: pino gives the levels, the children and the calls. Throws
 * `ERR_LOGGER_OPTION` for a wrong option; after that nothing throws.
 */
export function createLogger(options: LoggerOptions): Logger {
  const resolved = resolveOptions(options)
  const composer = new LineComposer({ redaction: new Redaction(resolved.redaction), limits: resolved.limits, format: formatOf(resolved) })
  const linesByLevel = new Map<string, number>()
  const outlet: Outlet = {
    bufferBytes: resolved.bufferBytes,
    fullWaitMs: resolved.fullWaitMs,
    // Past the level: that lines were lost is told by whoever lost them.
    onRecovery: (dropped) => writeOwn('warn', warn, { dropped }, 'log lines were dropped while the destination took none'),
    written: 0,
    atRisk: 0,
    dropped: 0,
    unreported: 0,
  }
  const sink = openSink(resolved.destination, outlet)
  const repeats =
    resolved.repeats &&
    new Repeats(resolved.repeats, (of, repeated) => writeOwn('info', 30, { repeated, of }, 'lines with one message were left out'))
  const metrics = new LoggerMetrics({
    linesByLevel,
    leftOut: () => repeats?.leftOut ?? 0,
    dropped: () => outlet.dropped,
    atRisk: () => outlet.atRisk,
  })
  listenForRequests()
  let depth = 0

  function writeOwn(level: string, levelValue: number, ...args: unknown[]): void {
    sink.write(outlet, composer.compose(level, levelValue, undefined, undefined, args), true)
  }

  function writeLine(this: PinoLogger, args: unknown[], _method: unknown, levelValue: number): void {
    if (repeats !== undefined && levelValue < warn && repeats.isTooMany(messageOf(args))) return
    // What is logged may log in turn, by a getter: to a depth, or it would never end.
    if (depth >= deepestLogging) return
    depth++
    try {
      const level = this.levels.labels[levelValue] ?? String(levelValue)
      const { [bindingsKey]: bindings, msgPrefix } = this as Bound
      const line = composer.compose(level, levelValue, bindings, msgPrefix, args)
      sink.write(outlet, line, levelValue >= warn)
      if (written.hasSubscribers) written.publish(line)
      linesByLevel.set(level, (linesByLevel.get(level) ?? 0) + 1)
      metrics.bind()
    } catch {
      writeOwn('error', 50, 'a line could not be made')
    } finally {
      depth--
    }
  }

  // pino's own stream gets nothing but the call after a fatal line.
  const base = pino({ level: resolved.level, base: null, timestamp: false, hooks: { logMethod: writeLine } }, {
    write() {},
    flushSync: () => sink.flush(),
  } as pino.DestinationStream)
  const overrides = new LevelOverrides(
    () => base,
    (module) => writeOwn('warn', warn, { module }, 'the log level is as before'),
  )
  return extend(base as Bound, { sink, outlet, metrics, repeats, overrides, writeOwn })
}

interface Parts {
  readonly sink: Sink
  readonly outlet: Outlet
  readonly metrics: LoggerMetrics
  readonly repeats: Repeats | undefined
  readonly overrides: LevelOverrides
  writeOwn(level: string, levelValue: number, ...args: unknown[]): void
}

function messageOf([first, second]: unknown[]): unknown {
  return typeof first === 'string' ? first : second
}

const deepestLogging = 8

/** Replaces what pino does with bindings (it renders them itself, unredacted and doubled) and adds the end of life. */
function extend(base: Bound, { sink, outlet, metrics, repeats, overrides, writeOwn }: Parts): Logger {
  const makeChild = base.child as unknown as (this: Bound, bindings: object, options?: object) => Bound
  let closing: Promise<void> | undefined
  const flushOnly = (): Promise<void> => {
    sink.flush()
    return Promise.resolve()
  }
  const members = {
    [bindingsKey]: undefined,
    child(this: Bound, bindings: PinoBindings, options?: ChildLoggerOptions) {
      must(options?.redact === undefined && options?.formatters === undefined, 'child', 'without redact and formatters')
      const { serializers, ...rest } = options ?? {}
      const child = makeChild.call(this, {}, options && rest)
      child[bindingsKey] = joined(this[bindingsKey], bindings, serializers)
      const module = guarded(() => (bindings as { module?: unknown }).module)
      if (typeof module === 'string') overrides.adopt(module, child)
      return Object.assign(child, { close: flushOnly, [Symbol.asyncDispose]: flushOnly })
    },
    bindings(this: Bound) {
      return { ...this[bindingsKey]?.fields }
    },
    setBindings(this: Bound, bindings: PinoBindings) {
      this[bindingsKey] = joined(this[bindingsKey], bindings, undefined)
    },
    overrideLevel(level: string, { module, forMs = 600_000 }: { module?: string | undefined; forMs?: number | undefined } = {}) {
      must(levels.includes(level), 'level', `one of ${levels.join(', ')}`)
      durationOption(refuse, 'forMs', forMs, 1, 86_400_000)
      overrides.set(module, level, forMs)
      writeOwn('warn', warn, { module, level, for_ms: forMs }, 'the log level is changed for a time')
    },
    flush(callback?: (error?: Error) => void) {
      sink.flush()
      callback?.()
    },
    stats: (): SinkStats => ({ written: outlet.written, atRisk: outlet.atRisk, dropped: outlet.dropped }),
    close({ timeoutMs = 1_000 }: { timeoutMs?: number | undefined } = {}) {
      must(Number.isFinite(timeoutMs) && timeoutMs >= 0, 'timeoutMs', 'a number of milliseconds from 0')
      repeats?.report()
      overrides.close()
      closing ??= sink.drain(outlet, timeoutMs).finally(() => {
        closeSink(sink, outlet)
        metrics.release()
      })
      return closing
    },
    [Symbol.asyncDispose]: () => members.close(),
  }
  return Object.assign(base, members) as unknown as Logger
}

function joined(parent: Layer | undefined, bindings: object, given: unknown): Layer {
  const serializers = given ? { ...parent?.serializers, ...(given as Serializers) } : parent?.serializers
  let fields: Fields
  try {
    fields = { ...parent?.fields, ...bindings }
  } catch {
    fields = { ...parent?.fields, bindings: '[unreadable]' }
  }
  return new Layer(fields, serializers)
}

function formatOf({ format, name, version, destination }: ResolvedLoggerOptions): Format {
  switch (format) {
    case 'json':
      return jsonFormat(name, version)
    case 'ecs':
      return ecsFormat(name, version)
    case 'pretty':
      return prettyFormat(name, destination)
  }
}
