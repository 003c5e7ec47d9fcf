import { AsyncLocalStorage } from 'node:async_hooks'
import { orAborted, pause } from '@platform/kernel'
import type { ConnectionPool } from './pool.ts'
import type { Session } from './session.ts'
import { statementOf } from './sql/statement.ts'

/** Positions in the server's log, as it writes them. */
const lsn = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/
/** So long a replica may take to catch up before somebody else answers. */
const catchUpMs = 100
const pollMs = 5
const reads = new Set(['SELECT', 'VALUES', 'SHOW'])

export type Position = bigint

export function positionOf(text: unknown): Position | undefined {
  const [, high, low] = (typeof text === 'string' && lsn.exec(text)) || []
  return high === undefined || low === undefined ? undefined : (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
}

export function positionText(position: Position): string {
  return `${(position >> 32n).toString(16)}/${(position & 0xffff_ffffn).toString(16)}`.toUpperCase()
}

/** What the reads of one request must have seen: the position it came with, and everything it has written. */
export class Scope {
  #position: Position | undefined
  #written = false
  #asking: Promise<void> | undefined

  constructor(position: Position | undefined) {
    this.#position = position
  }

  /** Called when the server has confirmed it, so that a position asked for later lies behind. */
  noteWrite(): void {
    this.#written = true
  }

  /** `ask` tells where the writer stands; it is asked once for all writes before. */
  async position(ask: () => Promise<Position>): Promise<Position | undefined> {
    if (this.#written) {
      this.#written = false
      this.#asking = this.#ask(ask)
    }
    await this.#asking
    return this.#position
  }

  async #ask(ask: () => Promise<Position>): Promise<void> {
    try {
      const position = await ask()
      if (this.#position === undefined || position > this.#position) this.#position = position
    } catch (error) {
      this.#written = true
      throw error
    }
  }
}

/** Which request runs. Costs nothing before the first one. */
export class Causality {
  #scopes: AsyncLocalStorage<Scope> | undefined

  run<T>(position: Position | undefined, work: () => T): T {
    this.#scopes ??= new AsyncLocalStorage()
    return this.#scopes.run(new Scope(position), work)
  }

  get scope(): Scope | undefined {
    return this.#scopes?.getStore()
  }
}

/** A statement outside of a transaction, or its COMMIT, after which the database may not be as before. */
export function mayHaveWritten(text: string, { status }: Session): boolean {
  if (status !== 'I') return false
  const { operation, residue } = statementOf(text)
  return residue !== 'none' || !reads.has(operation)
}

const standing = `select (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
  else pg_catalog.pg_current_wal_insert_lsn() end)::text as position`

async function askPosition(session: Session): Promise<Position | undefined> {
  const { rows } = await session.query<{ position: string | null }>(standing)
  return positionOf(rows[0]?.position)
}

/** Where the writer stands. */
export async function writerPosition(pool: ConnectionPool, signal?: AbortSignal): Promise<Position> {
  const session = await pool.acquire(signal)
  try {
    const position = await orAborted(askPosition(session), signal)
    if (position === undefined) throw new Error('the server does not say where it stands')
    return position
  } finally {
    void pool.restore(session, { expected: true })
  }
}

/** Whether the server behind a session has come as far as that, now or in a moment. Asked only until it has once. */
export async function hasSeen(session: Session, position: Position, signal: AbortSignal | undefined): Promise<boolean> {
  const deadline = performance.now() + catchUpMs
  while (session.seen === undefined || session.seen < position) {
    session.seen = await orAborted(askPosition(session), signal)
    if (session.seen !== undefined && session.seen >= position) return true
    if (performance.now() > deadline) return false
    await pause(pollMs, signal)
  }
  return true
}
