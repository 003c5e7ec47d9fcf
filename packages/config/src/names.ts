/** `['dbPool', 'maxSize']` under `ORDERS` is `ORDERS_DB_POOL_MAX_SIZE`. */
export function variableName(prefix: string, path: readonly string[]): string {
  const name = path.map((key) => words(key).join('_').toUpperCase()).join('_')
  return prefix === '' ? name : `${prefix}_${name}`
}

/** `['dbPool', 'maxSize']` is `db-pool.max-size`. */
export function argumentName(path: readonly string[]): string {
  return path.map((key) => words(key).join('-').toLowerCase()).join('.')
}

function words(key: string): string[] {
  return key
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1 $2')
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word !== '')
}

/** The name a misspelt one was probably meant to be: at most a third of its letters differ, or two of a short one. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(name.length > 3 ? 2 : 1, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

export function meant(name: string, known: Iterable<string>): string | undefined {
  const candidate = nearest(name, known)
  return candidate === undefined ? undefined : `did you mean ${candidate}?`
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const next = [i]
    for (let j = 1; j <= right.length; j++)
      next.push(Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1)))
    row = next
  }
  return row[right.length] ?? 0
}
