const brand = Symbol.for('@platform/queue/error')

/** Every way in which this package fails. The README tells what the caller does about each. */
const messages = {
  ERR_QUEUE_OPTION: 'An option is wrong',
  ERR_QUEUE_INVALID: 'The body does not fit the message',
  ERR_QUEUE_UNROUTABLE: 'Nobody has ever subscribed to the message',
  ERR_QUEUE_OVERFLOW: 'Too many publishes are waiting',
  ERR_QUEUE_INDETERMINATE: 'The connection was lost before the broker answered: the message may or may not be stored',
  ERR_QUEUE_TIMEOUT: 'The broker did not answer in time',
  ERR_QUEUE_REFUSED: 'The broker refused the message',
  ERR_QUEUE_UNAVAILABLE: 'The broker cannot be reached',
  ERR_QUEUE_CONFLICT: 'The group exists with other properties',
  ERR_QUEUE_NOT_FOUND: 'There is no such dead letter or parked key',
  ERR_QUEUE_LEASE_LOST: 'The delivery no longer belongs to this consumer',
  ERR_QUEUE_CLOSED: 'The broker is closed',
} as const

export type QueueErrorCode = keyof typeof messages

export interface QueueErrorFacts {
  cause?: unknown
  /** What is wrong in detail; never a value of the body. */
  detail?: string | undefined
  destination?: string | undefined
  messageId?: string | undefined
}

export class QueueError extends Error {
  readonly code: QueueErrorCode
  readonly destination: string | undefined
  readonly messageId: string | undefined

  constructor(code: QueueErrorCode, facts: QueueErrorFacts = {}) {
    const where = facts.destination === undefined ? '' : ` (${facts.destination})`
    const detail = facts.detail === undefined ? '' : `: ${facts.detail}`
    super(`${messages[code]}${where}${detail}`, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.name = 'QueueError'
    this.code = code
    this.destination = facts.destination
    this.messageId = facts.messageId
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of any installed copy of this package. */
  static isInstance(error: unknown): error is QueueError {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  }
}
