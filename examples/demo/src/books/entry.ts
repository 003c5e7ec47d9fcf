/** One statement about the run that must be true. */
export interface Entry {
  readonly name: string
  readonly holds: boolean
  readonly detail: string
}

/** What a check found: it holds when there is no fault. */
export interface Findings {
  readonly faults: readonly string[]
  /** What was looked at, said when there is no fault. */
  readonly detail: string
}

export interface Check {
  readonly name: string
  look(): Findings
}

const shownFaults = 3

/** A check that cannot be made has found a fault. */
export function judge({ name, look }: Check): Entry {
  let found: Findings
  try {
    found = look()
  } catch (error) {
    found = { faults: [`could not be looked at: ${(error as Error).message}`], detail: '' }
  }
  const { faults, detail } = found
  if (faults.length === 0) return { name, holds: true, detail }
  const more = faults.length > shownFaults ? `; and ${faults.length - shownFaults} more` : ''
  return { name, holds: false, detail: `${faults.slice(0, shownFaults).join('; ')}${more}` }
}

/** A fault for each value that stands more than once. */
export function repeated(values: readonly unknown[], what: (value: unknown) => string): string[] {
  const seen = new Set<unknown>()
  const twice = new Set<unknown>()
  for (const value of values) (seen.has(value) ? twice : seen).add(value)
  return [...twice].map(what)
}
