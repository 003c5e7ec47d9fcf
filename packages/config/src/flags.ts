import { FlagdCore, MemoryStorage } from '@openfeature/flagd-core'
import {
  ErrorCode,
  type EvaluationContext,
  type JsonValue,
  type Logger,
  OpenFeatureEventEmitter,
  type Provider,
  ProviderEvents,
  type ResolutionDetails,
  StandardResolutionReasons,
} from '@openfeature/server-sdk'
import type { Config } from './config.ts'
import { changedKeys } from './flag-changes.ts'

/** flagd's document: `{ flags: { name: { state, variants, defaultVariant, targeting } }, $evaluators, metadata }`. */
interface FlagDocument {
  readonly flags?: unknown
  readonly [key: string]: unknown
}

interface FlagSet {
  readonly document: unknown
  readonly core: FlagdCore
  /** What is wrong with a flag, by its name. */
  readonly faulty: ReadonlyMap<string, string>
  /** What is wrong with all of them. */
  readonly broken: string | undefined
}

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/**
 * Flags in flagd's format that are a part of the settings, evaluated in process. A change of them is an event of OpenFeature; a flag that is
 * wrong gives its caller's default with a reason, and leaves the others alone. A pinned request sees the flags of its snapshot.
 */
export function flags<T>(
  config: Pick<Config<T>, 'live' | 'current'>,
  select: (value: T) => unknown,
): Provider & { onClose(): Promise<void> } {
  const live = config.live(select)
  const events = new OpenFeatureEventEmitter()
  const compiled = new WeakMap<object, FlagSet>()
  const none = compile(undefined)
  let text = none
  const setOf = (document: unknown): FlagSet => {
    if (document === undefined) return none
    if (typeof document !== 'object' || document === null) return text.document === document ? text : (text = compile(document))
    const known = compiled.get(document) ?? compile(document)
    compiled.set(document, known)
    return known
  }
  const unsubscribe = live.onChange((next, previous) => {
    // Before the switch, so that the first evaluation after it does not pay.
    setOf(next)
    return {
      commit: () => events.emit(ProviderEvents.ConfigurationChanged, { flagsChanged: changedKeys(flagsOf(previous), flagsOf(next)) }),
    }
  })

  const evaluate = <V>(key: string, defaultValue: V, work: (core: FlagdCore) => ResolutionDetails<V>): Promise<ResolutionDetails<V>> => {
    const { core, faulty, broken } = setOf(live.current)
    const fault = broken ?? faulty.get(key)
    const failed = (errorCode: ErrorCode, errorMessage: string): ResolutionDetails<V> => ({
      value: defaultValue,
      reason: StandardResolutionReasons.ERROR,
      errorCode,
      errorMessage,
    })
    if (fault !== undefined) return Promise.resolve(failed(ErrorCode.PARSE_ERROR, fault))
    try {
      return Promise.resolve(work(core))
    } catch (error) {
      const { code, message } = error as { code?: ErrorCode; message?: string }
      return Promise.resolve(failed(code ?? ErrorCode.GENERAL, message ?? 'the flag could not be evaluated'))
    }
  }

  return {
    metadata: { name: '@platform/config' },
    runsOn: 'server',
    events,
    resolveBooleanEvaluation: (key, value, context: EvaluationContext, logger) =>
      evaluate(key, value, (core) => core.resolveBooleanEvaluation(key, value, context, logger)),
    resolveStringEvaluation: (key, value, context: EvaluationContext, logger) =>
      evaluate(key, value, (core) => core.resolveStringEvaluation(key, value, context, logger)),
    resolveNumberEvaluation: (key, value, context: EvaluationContext, logger) =>
      evaluate(key, value, (core) => core.resolveNumberEvaluation(key, value, context, logger)),
    resolveObjectEvaluation: <V extends JsonValue>(key: string, value: V, context: EvaluationContext, logger: Logger) =>
      evaluate(key, value, (core) => core.resolveObjectEvaluation(key, value, context, logger)),
    onClose() {
      unsubscribe()
      return Promise.resolve()
    },
  }
}

function compile(document: unknown): FlagSet {
  const core = new FlagdCore(undefined, quiet)
  if (document === undefined) return { document, core, faulty: new Map(), broken: undefined }
  const parsed = typeof document === 'string' ? parse(document) : document
  const all = flagsOf(parsed)
  if (all === undefined) return { document, core, faulty: new Map(), broken: 'the flags are not an object with a member "flags"' }
  const { flags: _, ...shared } = parsed as FlagDocument
  const faulty = new Map<string, string>()
  const good: Record<string, unknown> = {}
  for (const [key, flag] of Object.entries(all)) {
    const fault = faultOf(key, flag, shared)
    if (fault === undefined) good[key] = flag
    else faulty.set(key, fault)
  }
  try {
    core.setConfigurations(JSON.stringify({ ...shared, flags: good }))
    return { document, core, faulty, broken: undefined }
  } catch (error) {
    return { document, core, faulty, broken: `what all flags share is wrong: ${(error as Error).message}` }
  }
}

/** Alone, so that one that is wrong does not take the others along. */
function faultOf(key: string, flag: unknown, shared: object): string | undefined {
  try {
    new MemoryStorage(quiet).setConfigurations(JSON.stringify({ ...shared, flags: { [key]: flag } }), true)
  } catch (error) {
    return `the flag is not valid: ${(error as Error).message.slice(0, 500)}`
  }
  return undefined
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function flagsOf(document: unknown): Record<string, unknown> | undefined {
  const parsed = typeof document === 'string' ? parse(document) : document
  const all = typeof parsed === 'object' && parsed !== null ? (parsed as FlagDocument).flags : undefined
  return typeof all === 'object' && all !== null && !Array.isArray(all) ? (all as Record<string, unknown>) : undefined
}
