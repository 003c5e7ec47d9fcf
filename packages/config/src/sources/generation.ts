import { realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * Kubernetes swaps the link `..data` of a mounted ConfigMap or Secret, and with it all files at once. Where it leads says from which
 * generation they come; `undefined` where there is no such link.
 */
export async function generationOf(directories: Iterable<string>): Promise<string | undefined> {
  const found = await Promise.all([...new Set(directories)].map((directory) => realpath(join(directory, '..data')).catch(() => undefined)))
  return found.some((path) => path !== undefined) ? found.join('\n') : undefined
}

export function generationAround(paths: readonly string[]): Promise<string | undefined> {
  return generationOf(paths.map(dirname))
}
