import { backgroundTimeout } from '@platform/kernel'
import type { Logger as PinoLogger } from 'pino'

interface Override {
  readonly level: string
  readonly timer: NodeJS.Timeout
  /** Each gives one logger its own level back, if that logger still lives. */
  readonly undo: Set<() => void>
}

/** Other levels for a time, for the loggers of one module or for all. Children follow by themselves: a pino child looks its level up in its parent. */
export class LevelOverrides {
  readonly #root: () => PinoLogger
  readonly #onEnd: (module: string | undefined) => void
  readonly #members = new Map<string, Set<WeakRef<PinoLogger>>>()
  readonly #overrides = new Map<string | undefined, Override>()
  readonly #gone = new FinalizationRegistry<{ module: string; member: WeakRef<PinoLogger> }>(({ module, member }) => {
    const members = this.#members.get(module)
    members?.delete(member)
    if (members?.size === 0) this.#members.delete(module)
  })

  constructor(root: () => PinoLogger, onEnd: (module: string | undefined) => void) {
    this.#root = root
    this.#onEnd = onEnd
  }

  /** A child with the binding `module`. */
  adopt(module: string, child: PinoLogger): void {
    const member = new WeakRef(child)
    const members = this.#members.get(module) ?? new Set()
    this.#members.set(module, members.add(member))
    this.#gone.register(child, { module, member })
    const override = this.#overrides.get(module)
    if (override !== undefined) override.undo.add(setFor(child, override.level))
  }

  set(module: string | undefined, level: string, forMs: number): void {
    this.#end(module)
    const loggers = module === undefined ? [this.#root()] : [...(this.#members.get(module) ?? [])].flatMap((member) => member.deref() ?? [])
    const undo = new Set(loggers.map((logger) => setFor(logger, level)))
    const timer = backgroundTimeout(() => {
      this.#end(module)
      this.#onEnd(module)
    }, forMs)
    this.#overrides.set(module, { level, timer, undo })
  }

  close(): void {
    for (const module of this.#overrides.keys()) this.#end(module)
  }

  #end(module: string | undefined): void {
    const override = this.#overrides.get(module)
    if (override === undefined) return
    this.#overrides.delete(module)
    clearTimeout(override.timer)
    for (const undo of override.undo) undo()
  }
}

/** Sets a level, and returns what takes back what pino has changed for it: a logger that followed its parent follows it again. */
function setFor(logger: PinoLogger, level: string): () => void {
  const before = Object.getOwnPropertyDescriptors(logger) as Record<PropertyKey, PropertyDescriptor | undefined>
  logger.level = level
  const after = Object.getOwnPropertyDescriptors(logger) as Record<PropertyKey, PropertyDescriptor | undefined>
  const changed = Reflect.ownKeys(logger).filter((key) => after[key]?.value !== before[key]?.value)
  const weak = new WeakRef(logger)
  return () => {
    const target = weak.deref()
    // Set by somebody else meanwhile.
    if (target === undefined || target.level !== level) return
    for (const key of changed) {
      const descriptor = before[key]
      if (descriptor === undefined) delete (target as unknown as Record<PropertyKey, unknown>)[key]
      else Object.defineProperty(target, key, descriptor)
    }
  }
}
