import { guarded } from '@platform/kernel'
import { instruments } from './instrumentation.ts'
import type { LoggerLike } from './logger-like.ts'
import type { Instance } from './registry.ts'

export type DiscoveryEvent =
  | { type: 'instance-appeared' | 'instance-left'; service: string; instance: Instance }
  /** Left out by a client, for so long. */
  | { type: 'instance-ejected'; service: string; instance: Instance; forMs: number }
  /** Another service answers at its address (status 421). */
  | { type: 'instance-misdirected'; service: string; instance: Instance }
  /** May be asked again after an ejection. */
  | { type: 'instance-back'; service: string; instance: Instance }
  | { type: 'registry-lost'; service: string; registry: string; error: unknown }
  | { type: 'registry-back'; service: string; registry: string }
  /** Many instances, or all, vanished at once; they are kept until the registry has gone on without them. */
  | { type: 'removal-held'; service: string; registry: string; instances: number }
  /** So many entries of a registry name no place that could be asked; the others are used. */
  | { type: 'entries-unusable'; service: string; registry: string; entries: number }

const calm = new Set<DiscoveryEvent['type']>(['instance-appeared', 'instance-left'])

/** Every change is counted, logged and told to the user in one place. */
export class DiscoveryEvents {
  readonly #onEvent: ((event: DiscoveryEvent) => void) | undefined
  readonly #logger: LoggerLike | undefined

  constructor(onEvent: ((event: DiscoveryEvent) => void) | undefined, logger: LoggerLike | undefined) {
    this.#onEvent = onEvent
    this.#logger = logger
  }

  emit(event: DiscoveryEvent): void {
    const { type, service } = event
    instruments().events.add(1, { type, service })
    this.#log(event)
    guarded(
      () => this.#onEvent?.(event),
      (err) => this.#logger?.error({ err, service }, 'onEvent threw'),
    )
  }

  #log(event: DiscoveryEvent): void {
    const { type, service } = event
    const fields = {
      service,
      ...('instance' in event ? { instance: event.instance.id } : { registry: event.registry }),
      ...('error' in event ? { err: event.error } : {}),
    }
    if (calm.has(type)) this.#logger?.debug(fields, type)
    else if (type === 'registry-back' || type === 'instance-back') this.#logger?.info(fields, type)
    else this.#logger?.warn(fields, type)
  }
}
