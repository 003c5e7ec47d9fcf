import { LoggerError } from '../errors.ts'

/** Who acts, or what is acted on: `{ type: 'user', id: '7' }`. */
export interface AuditParty {
  readonly type: string
  readonly id: string
}

/** All that an audit log says. The schema is closed: what else is given is refused, so that no record carries what nobody looked at. */
export interface AuditEvent {
  readonly actor: AuditParty
  /** What was done or tried, like `order.cancel`. */
  readonly action: string
  readonly target: AuditParty
  readonly outcome: AuditOutcome
  /** Why it failed or was denied, or by which right it was done. */
  readonly reason?: string | undefined
}

export type AuditOutcome = 'success' | 'failure' | 'denied'

const outcomes: readonly string[] = ['success', 'failure', 'denied'] satisfies AuditOutcome[]
const longest = 1_024

/** Throws `ERR_LOGGER_AUDIT_EVENT` for what does not fit the schema. */
export function checkedEvent(event: AuditEvent): AuditEvent {
  members('event', event, ['actor', 'action', 'target', 'outcome', 'reason'])
  const { actor, action, target, outcome, reason } = event
  if (!outcomes.includes(outcome)) throw wrong('outcome', `must be one of ${outcomes.join(', ')}`)
  return {
    actor: party('actor', actor),
    action: text('action', action),
    target: party('target', target),
    outcome,
    ...(reason === undefined ? {} : { reason: text('reason', reason) }),
  }
}

function party(name: string, given: AuditParty): AuditParty {
  members(name, given, ['type', 'id'])
  return { type: text(`${name}.type`, given.type), id: text(`${name}.id`, given.id) }
}

function text(name: string, given: unknown): string {
  if (typeof given === 'string' && given !== '' && given.length <= longest) return given
  throw wrong(name, `must be a text of 1 to ${longest} characters`)
}

function members(name: string, given: unknown, known: readonly string[]): void {
  if (typeof given !== 'object' || given === null) throw wrong(name, 'must be an object')
  const stranger = Object.keys(given).find((key) => !known.includes(key))
  if (stranger !== undefined) throw wrong(name, `has members that are not ${known.join(', ')}`)
}

/** Texts of the event are not quoted. */
function wrong(name: string, problem: string): LoggerError {
  return new LoggerError('ERR_LOGGER_AUDIT_EVENT', `audit event: ${name} ${problem}`)
}
