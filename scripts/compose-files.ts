import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { root } from './pinned-node.ts'

/** A service as one file writes it: an override says only what differs. */
export interface FileService {
  readonly image?: string
  readonly profiles?: readonly string[]
  readonly mem_limit?: string
  readonly restart?: string
  readonly ports?: readonly string[]
}

/** The services of each file of Compose, by its path from the root. */
export function composeFiles(): ReadonlyMap<string, Readonly<Record<string, FileService>>> {
  const files = globSync('docker/compose*.yml', { cwd: root }).toSorted()
  return new Map(
    files.map((file) => {
      // Compose has tags of its own, which say how lists are merged.
      const options = { merge: true, maxAliasCount: -1, logLevel: 'error' } as const
      const { services } = parse(readFileSync(join(root, file), 'utf8'), options) as { services: Record<string, FileService> }
      return [file, services]
    }),
  )
}
