import type { Failure } from './failures/failure.ts'
import { ofDatabases } from './failures/of-databases.ts'
import { ofMessages } from './failures/of-messages.ts'
import { ofSafety } from './failures/of-safety.ts'
import { ofServices } from './failures/of-services.ts'

/** In the order in which they are rehearsed. */
export const failures: readonly Failure[] = [...ofDatabases, ...ofServices, ...ofMessages, ...ofSafety]

/** Those from which one of these alerts must follow; all of them without a name. Throws on a name that none of them knows. */
export function failuresFor(alerts: readonly string[]): readonly Failure[] {
  const rehearsed = new Set(failures.flatMap(namesOf))
  const unknown = alerts.filter((name) => !rehearsed.has(name))
  if (unknown.length > 0)
    throw new Error(`no failure is known to be followed by ${unknown.join(', ')}, but by ${[...rehearsed].join(', ')}`)
  return alerts.length === 0 ? failures : failures.filter((failure) => namesOf(failure).some((name) => alerts.includes(name)))
}

function namesOf({ alerts }: Failure): string[] {
  return alerts.map(({ labels }) => labels.alertname)
}
