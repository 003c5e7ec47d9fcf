import { QueueError } from './errors.ts'

/** Names end up in queue names, routing keys and SQL: letters that are safe in all of them. */
export const namePattern: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

/** Nothing is accepted and ignored. */
export function known(where: string, options: object, names: readonly string[]): void {
  const stranger = Object.keys(options).find((name) => !names.includes(name))
  if (stranger !== undefined) throw wrong(`${where} knows no option ${stranger}`)
}

export function wrong(detail: string): QueueError {
  return new QueueError('ERR_QUEUE_OPTION', { detail })
}

export function within(name: string, value: number, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw new QueueError('ERR_QUEUE_OPTION', { detail: `${name}: a whole number from ${min} to ${max}` })
  }
  return value
}
