import { appOf, idOf, type InstanceInfo } from './instance-info.ts'

/** What the server answers to a question for all applications or for what changed. Of one entry it may write the entry instead of a list. */
export interface ApplicationsAnswer {
  readonly applications?: {
    readonly apps__hashcode?: unknown
    readonly application?: OneOrMore<{ readonly name?: unknown; readonly instance?: OneOrMore<InstanceInfo> }>
  } | null
}

type OneOrMore<T> = T | readonly (T | null)[] | null

/** All entries of a server as they were told last. */
export class Applications {
  readonly #apps = new Map<string, Map<string, InstanceInfo>>()

  private constructor() {}

  static of(answer: ApplicationsAnswer): Applications {
    const all = new Applications()
    for (const { app, info } of entriesOf(answer)) all.#put(app, info)
    return all
  }

  /** With the changes of a delta. They are told for minutes, so each comes several times. Undefined: it does not add up, and all must be asked for. */
  with(delta: ApplicationsAnswer): Applications | undefined {
    const next = new Applications()
    for (const [app, entries] of this.#apps) next.#apps.set(app, new Map(entries))
    for (const { app, info } of entriesOf(delta)) {
      if (info.actionType === 'DELETED') next.#apps.get(app)?.delete(idOf(info))
      else next.#put(app, info)
    }
    return next.#hash() === String(delta.applications?.apps__hashcode) ? next : undefined
  }

  entriesOf(service: string): readonly InstanceInfo[] {
    return [...(this.#apps.get(appOf(service))?.values() ?? [])]
  }

  #put(app: string, info: InstanceInfo): void {
    const entries = this.#apps.get(app) ?? new Map<string, InstanceInfo>()
    this.#apps.set(app, entries.set(idOf(info), info))
  }

  /** How many entries have each status: `DOWN_1_UP_12_`. */
  #hash(): string {
    const counts = new Map<string, number>()
    for (const entries of this.#apps.values())
      for (const { status } of entries.values()) counts.set(String(status), (counts.get(String(status)) ?? 0) + 1)
    const sorted = [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
    return sorted.map(([status, count]) => `${status}_${count}_`).join('')
  }
}

function* entriesOf({ applications }: ApplicationsAnswer): Generator<{ app: string; info: InstanceInfo }> {
  for (const { name, instance } of list(applications?.application)) {
    for (const info of list(instance)) yield { app: appOf(String(info.app ?? name)), info }
  }
}

function list<T>(value: OneOrMore<T> | undefined): T[] {
  const all = Array.isArray(value) ? (value as readonly (T | null)[]) : [value as T | null | undefined]
  return all.filter((one): one is T => typeof one === 'object' && one !== null)
}
