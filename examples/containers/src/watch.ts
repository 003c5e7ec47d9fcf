import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { watchFiles } from '@film-store/operations'

/** How much faster a rehearsal's rules run: what takes an hour takes a minute. */
const rehearsalScale = 1 / 60

/** Writes what Prometheus and Alertmanager mount (`FILM_STORE_WATCH`), at the rehearsal's speed; their users differ from the owner. */
export function writeWatch(folder: string): void {
  for (const { name, text } of watchFiles(rehearsalScale)) {
    const file = join(folder, name)
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 })
    writeFileSync(file, text, { mode: 0o644 })
  }
  chmodSync(folder, 0o755)
}
