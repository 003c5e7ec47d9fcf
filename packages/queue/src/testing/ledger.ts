import type { Handler } from '../handler.ts'

/**
 * What happened to messages, as plain data: processes print their entries as JSON lines, and one ledger reads them all. `handled` says that
 * the effect took place: with an inbox, record it where the effect is committed.
 */
export type LedgerEntry =
  | { readonly did: 'publish'; readonly id: string; readonly key?: string | undefined }
  | { readonly did: 'confirm' | 'refuse' | 'lose-track'; readonly id: string }
  | { readonly did: 'begin' | 'handle' | 'fail' | 'bury' | 'replay' | 'discard'; readonly id: string; readonly group: string }

/**
 * The publishing side of a message:
 * tried → confirmed | refused | uncertain (the outcome is unknown); a later try with the same id may still confirm it.
 */
type Publication = 'tried' | 'confirmed' | 'refused' | 'uncertain'

/** One message in one group: waiting → begun → handled | failed | dead; dead → waiting (replayed) | discarded. */
type Fate = 'waiting' | 'begun' | 'handled' | 'failed' | 'dead' | 'discarded'

interface Account {
  fate: Fate
  tries: number
  effects: number
}

export interface Audit {
  readonly messages: number
  readonly confirmed: number
  /** Confirmed, and in a group neither handled, dead nor discarded. */
  readonly lost: readonly string[]
  /** Took effect more than once in a group. */
  readonly doubled: readonly string[]
  /** Took effect for the first time after a later message of its key had. */
  readonly reordered: readonly string[]
  /** Dead letters that no handler ever began. */
  readonly untried: readonly string[]
  /** Took effect although nobody published them, or although the publish was refused. */
  readonly unaccounted: readonly string[]
  /** Tries beyond the first, of all messages. */
  readonly repeated: number
  /** No list holds anything. */
  readonly clean: boolean
}

export interface LedgerOptions {
  /** Groups that every confirmed message has to reach. */
  groups: readonly string[]
  /** Those of them that keep the order of a key. Default: none. */
  ordered?: readonly string[] | undefined
}

/** The oracle of tests that break things: a state machine per message and group, fed by whoever sees something, read at the end. */
export class Ledger {
  readonly #groups: readonly string[]
  readonly #ordered: ReadonlySet<string>
  readonly #published = new Map<string, { state: Publication; order: number; key: string | undefined }>()
  readonly #accounts = new Map<string, Map<string, Account>>()
  readonly #latest = new Map<string, number>()
  readonly #reordered = new Set<string>()

  constructor({ groups, ordered = [] }: LedgerOptions) {
    this.#groups = groups
    this.#ordered = new Set(ordered)
    for (const group of groups) this.#accounts.set(group, new Map())
  }

  record(entry: LedgerEntry): void {
    if ('group' in entry) this.#happened(entry)
    else if (entry.did === 'publish') this.#publish(entry.id, entry.key)
    else this.#answered(entry.id, entry.did)
  }

  /** Publishes and records what came of it; `lose-track` is for every outcome that leaves open whether it is stored. */
  async publish<T>(id: string, key: string | undefined, send: () => Promise<T>): Promise<T> {
    this.record({ did: 'publish', id, key })
    try {
      const result = await send()
      this.record({ did: 'confirm', id })
      return result
    } catch (error) {
      const code = (error as { code?: unknown }).code
      const certain = ['ERR_QUEUE_INVALID', 'ERR_QUEUE_UNROUTABLE', 'ERR_QUEUE_OVERFLOW', 'ERR_QUEUE_REFUSED', 'ERR_QUEUE_CLOSED']
      this.record({ did: certain.includes(code as string) ? 'refuse' : 'lose-track', id })
      throw error
    }
  }

  /** A handler that keeps the books. */
  watch<T>(group: string, handler: Handler<T>): Handler<T> {
    return async (delivery, context) => {
      const { id } = delivery
      this.record({ did: 'begin', id, group })
      try {
        await handler(delivery, context)
      } catch (error) {
        this.record({ did: 'fail', id, group })
        throw error
      }
      this.record({ did: 'handle', id, group })
    }
  }

  /** Confirmed messages that a group has not finished with; empty at the end of a test that waits for it. */
  outstanding(group: string): string[] {
    const accounts = this.#accounts.get(group)
    return [...this.#published].filter(([id, { state }]) => state === 'confirmed' && !isFinished(accounts?.get(id)?.fate)).map(([id]) => id)
  }

  audit(): Audit {
    const lost = this.#groups.flatMap((group) => this.outstanding(group).map((id) => `${group}: ${id}`))
    const [doubled, untried, unaccounted]: string[][] = [[], [], []]
    let repeated = 0
    for (const [group, accounts] of this.#accounts) {
      for (const [id, { fate, tries, effects }] of accounts) {
        const name = `${group}: ${id}`
        repeated += Math.max(0, tries - 1)
        if (effects > 1) doubled?.push(name)
        if (fate === 'dead' && tries === 0) untried?.push(name)
        const state = this.#published.get(id)?.state
        if (effects > 0 && (state === undefined || state === 'refused')) unaccounted?.push(name)
      }
    }
    const lists = { lost, doubled: doubled ?? [], reordered: [...this.#reordered], untried: untried ?? [], unaccounted: unaccounted ?? [] }
    return {
      messages: this.#published.size,
      confirmed: [...this.#published.values()].filter(({ state }) => state === 'confirmed').length,
      ...lists,
      repeated,
      clean: Object.values(lists).every((list) => list.length === 0),
    }
  }

  #publish(id: string, key: string | undefined): void {
    const known = this.#published.get(id)
    if (known === undefined) this.#published.set(id, { state: 'tried', order: this.#published.size, key })
    else if (known.state === 'refused') known.state = 'tried'
  }

  #answered(id: string, did: 'confirm' | 'refuse' | 'lose-track'): void {
    const known = this.#published.get(id)
    if (known === undefined || known.state === 'confirmed') return
    if (did === 'confirm') known.state = 'confirmed'
    // Refused after an unknown outcome: the first try may still be stored.
    else if (did === 'lose-track' || known.state === 'uncertain') known.state = 'uncertain'
    else known.state = 'refused'
  }

  #happened({ did, id, group }: Extract<LedgerEntry, { group: string }>): void {
    const account = this.#account(group, id)
    if (did === 'begin') {
      account.tries += 1
      if (account.fate !== 'handled') account.fate = 'begun'
    } else if (did === 'handle') this.#handled(account, id, group)
    else if (account.fate === 'handled') return
    else if (did === 'replay') account.fate = 'waiting'
    else account.fate = { fail: 'failed', bury: 'dead', discard: 'discarded' }[did] as Fate
  }

  #handled(account: Account, id: string, group: string): void {
    account.effects += 1
    account.fate = 'handled'
    const message = this.#published.get(id)
    if (account.effects > 1 || message?.key === undefined || !this.#ordered.has(group)) return
    const lane = JSON.stringify([group, message.key])
    const latest = this.#latest.get(lane) ?? -1
    if (message.order < latest) this.#reordered.add(`${group}: ${id}`)
    else this.#latest.set(lane, message.order)
  }

  #account(group: string, id: string): Account {
    let accounts = this.#accounts.get(group)
    if (accounts === undefined) this.#accounts.set(group, (accounts = new Map()))
    let account = accounts.get(id)
    if (account === undefined) accounts.set(id, (account = { fate: 'waiting', tries: 0, effects: 0 }))
    return account
  }
}

function isFinished(fate: Fate | undefined): boolean {
  return fate === 'handled' || fate === 'dead' || fate === 'discarded'
}

/** Entries out of the lines that processes printed; other lines are passed over. */
export function readLedgerLine(line: string): LedgerEntry | undefined {
  if (!line.startsWith('{"did":')) return undefined
  try {
    return JSON.parse(line) as LedgerEntry
  } catch {
    return undefined
  }
}
