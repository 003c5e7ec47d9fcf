import { backgroundTimeout, guarded, orAborted } from '@platform/kernel'
import { DiscoveryError } from './errors.ts'
import type { DiscoveryEvents } from './events.ts'
import type { LoggerLike } from './logger-like.ts'
import { type Instance, instanceKey, type RegistryConnection } from './registry.ts'
import type { SnapshotFile } from './snapshot-file.ts'
import { Source } from './source.ts'

/** A registry that has said nothing at all for so long counts as down when the service starts. */
const SILENCE_MS = 2000

interface ServiceWatchOptions {
  service: string
  registries: readonly { name: string; connection: RegistryConnection }[]
  snapshot: SnapshotFile | undefined
  emptyConfirmMs: number
  logger: LoggerLike | undefined
  events: DiscoveryEvents
}

/** The current set of one service out of all registries: the first in the given order that has instances decides. */
export class ServiceWatch {
  readonly #service: string
  readonly #sources: readonly Source[]
  readonly #snapshot: SnapshotFile | undefined
  readonly #logger: LoggerLike | undefined
  readonly #events: DiscoveryEvents
  readonly #listeners = new Set<(instances: readonly Instance[]) => void>()
  readonly #silence: NodeJS.Timeout
  /** Who has not spoken by now is not waited for. */
  #overdue = false
  #instances: readonly Instance[] | undefined
  #fingerprint = ''
  #stale = false
  #settle: PromiseWithResolvers<readonly Instance[]> | undefined
  #closed = false

  constructor({ service, registries, snapshot, emptyConfirmMs, logger, events }: ServiceWatchOptions) {
    this.#service = service
    this.#snapshot = snapshot
    this.#logger = logger
    this.#events = events
    const onUpdate = (): void => this.#update()
    this.#sources = registries.map(
      ({ name, connection }) => new Source({ service, registry: name, connection, emptyConfirmMs, events, onUpdate }),
    )
    this.#silence = backgroundTimeout(() => {
      this.#overdue = true
      this.#update()
    }, SILENCE_MS)
  }

  /** Undefined until a registry or the snapshot has spoken. */
  get instances(): readonly Instance[] | undefined {
    return this.#instances
  }

  /** Whether the set comes from the snapshot or from a registry that does not answer now. */
  get stale(): boolean {
    return this.#stale || (this.#instances !== undefined && this.#sources.every((source) => source.failure !== undefined))
  }

  /** The current set; waits for the first one, and rejects when no registry answers and no snapshot helps. */
  known(signal?: AbortSignal): Promise<readonly Instance[]> {
    if (this.#instances !== undefined) return Promise.resolve(this.#instances)
    if (this.#closed) return Promise.reject(new DiscoveryError('ERR_DISCOVERY_CLOSED', 'discovery is closed', { service: this.#service }))
    this.#settle ??= Promise.withResolvers()
    return orAborted(this.#settle.promise, signal)
  }

  /** Called with the current set, if there is one, and with every later one. */
  subscribe(listener: (instances: readonly Instance[]) => void): () => void {
    const own = (instances: readonly Instance[]): void => listener(instances)
    this.#listeners.add(own)
    if (this.#instances !== undefined) this.#tell(own, this.#instances)
    return () => this.#listeners.delete(own)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#silence)
    for (const source of this.#sources) source.close()
    this.#reject(new DiscoveryError('ERR_DISCOVERY_CLOSED', 'discovery is closed', { service: this.#service }))
    this.#listeners.clear()
  }

  /** Their order decides, not that of their answers: the first set waits for those that come before, and for all before it is empty. */
  #update(): void {
    if (this.#closed) return
    const isFirst = this.#instances === undefined
    for (const { instances, failure } of this.#sources) {
      if (instances !== undefined && instances.length > 0) return this.#publish(instances, false)
      if (isFirst && instances === undefined && failure === undefined && !this.#overdue) return
    }
    const empty = this.#sources.find(({ instances }) => instances !== undefined)?.instances
    const unheard = this.#sources.find(({ instances }) => instances === undefined)
    if (isFirst && unheard !== undefined) void this.#recall(this.#sources.find(({ failure }) => failure !== undefined)?.failure, empty)
    // Of what the last run knew, those may have been that have not been heard.
    else if (empty !== undefined && !(this.#stale && unheard !== undefined)) this.#publish(empty, false)
  }

  async #recall(failure: unknown, empty: readonly Instance[] | undefined): Promise<void> {
    if (this.#instances !== undefined) return
    const remembered = await this.#snapshot?.read(this.#service)
    if (this.#closed || this.#instances !== undefined) return
    if (remembered !== undefined) {
      this.#logger?.warn(
        { service: this.#service, instances: remembered.length },
        'no registry answers; using the instances of the last run',
      )
      this.#publish(Object.freeze(remembered.map((instance) => Object.freeze(instance))), true)
    } else if (empty !== undefined) {
      this.#publish(empty, false)
    } else if (failure !== undefined) {
      this.#reject(
        new DiscoveryError('ERR_DISCOVERY_UNAVAILABLE', `no registry answers for ${this.#service}`, {
          service: this.#service,
          cause: failure,
        }),
      )
    }
  }

  #publish(instances: readonly Instance[], stale: boolean): void {
    clearTimeout(this.#silence)
    this.#stale = stale
    const fingerprint = JSON.stringify(instances)
    if (this.#instances !== undefined && fingerprint === this.#fingerprint) return
    this.#fingerprint = fingerprint
    this.#announce(this.#instances ?? [], instances)
    this.#instances = instances
    if (!stale && instances.length > 0) this.#snapshot?.save(this.#service, instances)
    this.#settle?.resolve(instances)
    this.#settle = undefined
    for (const listener of this.#listeners) this.#tell(listener, instances)
  }

  #announce(before: readonly Instance[], after: readonly Instance[]): void {
    const known = new Map(before.map((instance) => [instanceKey(instance), instance]))
    const service = this.#service
    for (const instance of after) {
      if (!known.delete(instanceKey(instance))) this.#events.emit({ type: 'instance-appeared', service, instance })
    }
    for (const instance of known.values()) this.#events.emit({ type: 'instance-left', service, instance })
  }

  #tell(listener: (instances: readonly Instance[]) => void, instances: readonly Instance[]): void {
    guarded(
      () => listener(instances),
      (error) => this.#logger?.error({ err: error, service: this.#service }, 'a watch listener threw'),
    )
  }

  #reject(error: DiscoveryError): void {
    this.#settle?.promise.catch(() => {})
    this.#settle?.reject(error)
    this.#settle = undefined
  }
}
