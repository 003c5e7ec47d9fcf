import { backgroundInterval, backoffMs, orAborted } from '@platform/kernel'
import type { Broker } from './broker.ts'
import { parseEnvelope } from './envelope.ts'
import { nameOf } from './error-text.ts'
import { QueueError } from './errors.ts'
import type { OutgoingMessage } from './message.ts'
import { claimAny, claimInOrder, claimMs, own, renewClaims, settle, type FailedRow, type Row } from './outbox-table.ts'
import type { Database } from './shapes.ts'

export interface RelayLimits {
  readonly ordered: boolean
  readonly batchSize: number
}

export interface Failure extends FailedRow {
  readonly err: unknown
  readonly messageId: string | undefined
  readonly destination: string
}

export interface RelayResult {
  readonly published: number
  readonly failures: readonly Failure[]
  /** Rows that bear transaction numbers of another server. */
  readonly foreign: number
}

const nothing: RelayResult = { published: 0, failures: [], foreign: 0 }

/**
 * Claim, publish, delete: three steps, with no transaction open while the broker is asked. A crash in between leaves the rows: they are
 * published again under the same ids once the claim has run out, which an inbox recognises.
 */
export async function relayBatch(
  db: Database,
  broker: Broker,
  relay: string,
  limits: RelayLimits,
  signal: AbortSignal,
): Promise<RelayResult> {
  const claimedAt = performance.now()
  if (limits.ordered && !(await own(db, relay))) return nothing
  const { rows, foreign } = limits.ordered
    ? await claimInOrder(db, limits.batchSize)
    : { rows: await claimAny(db, relay, limits.batchSize), foreign: 0 }
  if (rows.length === 0) return nothing

  const claim = new Claim(db, relay, limits.ordered, rows, claimedAt)
  const bound = AbortSignal.any([signal, claim.lost])
  const done: string[] = []
  const failures: Failure[] = []
  const publishLane = async (lane: readonly Row[]): Promise<void> => {
    for (const row of lane) {
      if (bound.aborted) return
      try {
        // The end of the claim ends the wait too, whether the broker listens to its signal or not.
        await orAborted(broker.send(outgoingOf(row), { signal: bound }), bound)
        done.push(row.row_id)
      } catch (error) {
        // A close or a lost claim says nothing about the row.
        if (!bound.aborted) failures.push(failureOf(row, error))
        return
      }
    }
  }
  try {
    await Promise.all(lanesOf(rows, limits.ordered).map(publishLane))
  } finally {
    await claim.end()
  }
  const touched = new Set([...done, ...failures.map((failure) => failure.rowId)])
  const untried = limits.ordered ? [] : rows.map((row) => row.row_id).filter((id) => !touched.has(id))
  await settle(db, relay, { done, untried, failed: failures })
  return { published: done.length, failures, foreign }
}

/** Renewed while the broker is asked; lost when that fails for as long as the claim lasts, since another relay may have it then. */
class Claim {
  readonly #lost = new AbortController()
  readonly #timer: NodeJS.Timeout
  #renewedAt: number
  #renewing: Promise<void> | undefined

  constructor(db: Database, relay: string, ordered: boolean, rows: readonly Row[], claimedAt: number) {
    this.#renewedAt = claimedAt
    const ids = rows.map((row) => row.row_id)
    this.#timer = backgroundInterval(() => {
      if (performance.now() - this.#renewedAt > claimMs - 1_000) this.#lost.abort(new QueueError('ERR_QUEUE_LEASE_LOST'))
      this.#renewing ??= this.#renew(() => (ordered ? own(db, relay) : renewClaims(db, relay, ids).then(() => true)))
    }, claimMs / 5)
  }

  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** A renewal that is under way is awaited: it would take from the next relay what this one has given up. */
  async end(): Promise<void> {
    clearInterval(this.#timer)
    await this.#renewing
  }

  async #renew(renewal: () => Promise<boolean>): Promise<void> {
    const startedAt = performance.now()
    try {
      if (await renewal()) this.#renewedAt = startedAt
      else this.#lost.abort(new QueueError('ERR_QUEUE_LEASE_LOST'))
    } catch {
      // The next one may succeed; until then the claim grows older.
    } finally {
      this.#renewing = undefined
    }
  }
}

function failureOf(row: Row, error: unknown): Failure {
  const attempts = row.attempts + 1
  return {
    rowId: row.row_id,
    attempts,
    retryInMs: 250 + backoffMs(attempts, 500, 60_000),
    // Codes and names only: a foreign text may hold anything.
    error: QueueError.isInstance(error) ? error.code : nameOf(error),
    err: error,
    messageId: QueueError.isInstance(error) ? error.messageId : undefined,
    destination: row.destination,
  }
}

/** What stands in the table was written by whoever can write there. */
function outgoingOf(row: Row): OutgoingMessage {
  const refused = (): QueueError =>
    new QueueError('ERR_QUEUE_INVALID', { destination: row.destination, detail: `outbox row ${row.row_id} holds no message` })
  let message: unknown = row.message
  if (typeof message === 'string') {
    try {
      message = JSON.parse(message)
    } catch {
      throw refused()
    }
  }
  const { destination, mandatory, envelope } = (message ?? {}) as Partial<Record<keyof OutgoingMessage, unknown>>
  const parsed = parseEnvelope(envelope)
  if (parsed === undefined || typeof destination !== 'string' || destination !== `${parsed.name}.v${parsed.version}`) throw refused()
  return { destination, mandatory: mandatory !== false, envelope: parsed }
}

/** What must be published one after the other. */
function lanesOf(rows: readonly Row[], ordered: boolean): Row[][] {
  if (!ordered) return rows.map((row) => [row])
  const lanes = new Map<string, Row[]>()
  for (const row of rows) {
    const name = row.key === null ? row.row_id : JSON.stringify([row.destination, row.key])
    const lane = lanes.get(name)
    if (lane === undefined) lanes.set(name, [row])
    else lane.push(row)
  }
  return [...lanes.values()]
}
