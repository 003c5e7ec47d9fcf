import { userInfo } from 'node:os'
import type { Field } from '../fields.ts'
import { type ConsulStore, type Stored, type Write, writesAtOnce } from './consul-store.ts'

export interface Change {
  readonly path: string
  readonly from?: string | undefined
  readonly to?: string | undefined
}

/** One push, as it stands in the history. */
export interface Pushed {
  readonly revision: number
  readonly at: string
  readonly by: string
  readonly note?: string | undefined
  readonly changes: readonly Change[]
}

export interface Plan {
  readonly changes: readonly Change[]
  readonly writes: readonly Write[]
}

/** Beside the settings, not among them: whoever reads these sees nothing of it. */
const historyOf = (prefix: string): string => `${prefix}.history`
const headKey = 'head'

/** What makes the keys below the prefix what the folder says. Secrets there are none of its business. */
export function planPush(
  prefix: string,
  wanted: ReadonlyMap<string, string>,
  stored: ReadonlyMap<string, Stored>,
  fields: readonly Field[],
): Plan {
  const secrets = new Set(fields.filter(({ secret }) => secret).map(({ path }) => path.join('/')))
  const settings = new Set(fields.map(({ path }) => path.join('/')))
  const changes: Change[] = []
  const writes: Write[] = []
  const plan = (name: string, from: Stored | undefined, to: string | undefined): void => {
    if (from?.text === to) return
    // A key that is no setting may hold whatever somebody put there.
    const before = from && (settings.has(name) ? from.text : '(no setting)')
    changes.push({ path: name.replaceAll('/', '.'), from: before, to })
    writes.push({ key: `${prefix}/${name}`, text: to, index: from?.index ?? 0 })
  }
  for (const [name, text] of wanted) plan(name, stored.get(name), text)
  for (const [name, entry] of stored)
    if (name !== '' && !name.endsWith('/') && !wanted.has(name) && !secrets.has(name)) plan(name, entry, undefined)
  return { changes, writes }
}

export function describeChanges(changes: readonly Change[]): string {
  const lines = changes.map(({ path, from, to }) => {
    if (from === undefined) return `+ ${path} = ${to}`
    return to === undefined ? `- ${path} = ${from}` : `~ ${path} = ${from} → ${to}`
  })
  return lines.map((line) => `${line}\n`).join('')
}

/**
 * Writes the plan and its entry in the history. Every write names the state that it was decided by, and the first transaction takes the head of
 * the history: of two who push at the same time one is told. A plan of more than a transaction holds is written in several, in order.
 */
export async function carryOut(
  store: ConsulStore,
  prefix: string,
  { changes, writes }: Plan,
  note: string | undefined,
): Promise<{ revision: number; transactions: number }> {
  const folder = historyOf(prefix)
  const head = (await store.read(folder)).get(headKey)
  const revision = Number(head?.text ?? 0) + 1
  const entry: Pushed = { revision, at: new Date().toISOString(), by: userInfo().username, note, changes }
  const own: Write[] = [
    { key: `${folder}/${headKey}`, text: String(revision), index: head?.index ?? 0 },
    { key: `${folder}/${String(revision).padStart(8, '0')}`, text: JSON.stringify(entry), index: 0 },
  ]
  const all = [...own, ...writes]
  let transactions = 0
  for (let from = 0; from < all.length; from += writesAtOnce) {
    if (!(await store.write(all.slice(from, from + writesAtOnce)))) {
      const done = transactions === 0 ? 'nothing was written' : `${from - own.length} of ${writes.length} settings were written`
      throw new Error(`somebody else wrote to ${prefix} at the same time: ${done}. Look at it with diff, and push again`)
    }
    transactions++
  }
  return { revision, transactions }
}

export async function historyBelow(store: ConsulStore, prefix: string): Promise<Pushed[]> {
  const stored = await store.read(historyOf(prefix))
  const names = [...stored.keys()].filter((name) => /^\d+$/.test(name)).toSorted()
  return names.map((name) => JSON.parse(stored.get(name)!.text) as Pushed)
}
