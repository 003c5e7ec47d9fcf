import { QueueError } from './errors.ts'

/** Names end up in queue names, routing keys and SQL: letters that are safe in all of them. */
export const namePattern: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

export function wrong(detail: string): QueueError {
  return new QueueError('ERR_QUEUE_OPTION', { detail })
}

/** For the kernel's option checks. */
export function refuse(option: string, problem: string): QueueError {
  return wrong(`${option} ${problem}`)
}
