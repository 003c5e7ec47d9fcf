import { readFile } from 'node:fs/promises'
import type { Entry } from './books.ts'
import { askAdmin, called } from './services.ts'
import type { Store } from './store.ts'

const pages = ['/metrics', '/live', '/ready', '/started', '/level']

/** The passwords that the run itself made up are the canaries: none of them may stand in what the services write or show. */
export async function secretsKept(store: Store): Promise<Entry> {
  const canaries = secretsOf(store)
  const outputs = new Map<string, string>()
  // Containers keep theirs to themselves until the end.
  const log = await readFile(store.services.logFile, 'utf8').catch(() => undefined)
  if (log !== undefined) outputs.set('the log', log)
  for (const spec of store.specs) {
    for (const page of pages) {
      const answer = await askAdmin(spec, page, store.adminToken).catch(() => undefined)
      if (answer) outputs.set(`${page} of ${called(spec)}`, await answer.text())
    }
  }
  const shown = [...outputs].filter(([, text]) => canaries.some((canary) => text.includes(canary))).map(([where]) => where)
  return {
    name: 'no password stands in logs, metrics or probes',
    holds: shown.length === 0 && canaries.length > 0,
    detail: shown.length === 0 ? `${canaries.length} passwords, ${outputs.size} outputs` : `in ${shown.join(', ')}`,
  }
}

function secretsOf({ databases, specs, adminToken = '' }: Store): string[] {
  const urls = [...Object.values(databases), ...specs.flatMap(({ env }) => Object.values(env))].filter((text) => URL.canParse(text))
  const passwords = urls.flatMap((url) => [new URL(url).password, decodeURIComponent(new URL(url).password)])
  return [...new Set([...passwords, adminToken])].filter((password) => password.length >= 8)
}
