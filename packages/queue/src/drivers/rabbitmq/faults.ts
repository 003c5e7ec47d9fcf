import { QueueError, type QueueErrorCode, type QueueErrorFacts } from '../../errors.ts'

/** The broker's own number for what it refused, when the error is its answer. amqplib 0.10.0 rejects with the frame itself, later ones with an error. */
export function replyCode(error: unknown): number | undefined {
  const { code, fields } = (error ?? {}) as { code?: unknown; fields?: { replyCode?: unknown } }
  const number = code ?? fields?.replyCode
  return typeof number === 'number' && number >= 300 && number < 600 ? number : undefined
}

const codes: Partial<Record<number, QueueErrorCode>> = {
  403: 'ERR_QUEUE_REFUSED',
  404: 'ERR_QUEUE_NOT_FOUND',
  405: 'ERR_QUEUE_CONFLICT',
  406: 'ERR_QUEUE_CONFLICT',
}

/** Every error that leaves the driver is a QueueError, with the broker's own as its cause. */
export function typed(error: unknown, facts: QueueErrorFacts = {}): QueueError {
  if (QueueError.isInstance(error)) {
    return error.destination !== undefined || facts.destination === undefined
      ? error
      : new QueueError(error.code, { ...facts, cause: error.cause })
  }
  const reply = replyCode(error)
  return new QueueError((reply === undefined ? undefined : codes[reply]) ?? 'ERR_QUEUE_UNAVAILABLE', { ...facts, cause: error })
}
