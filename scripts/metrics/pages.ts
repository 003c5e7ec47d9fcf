import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../pinned-node.ts'

/** A metric as a package's page describes it. */
export interface Described {
  readonly name: string
  /** As the table says it: `histogram, s`. */
  readonly kind: string
  readonly labels: readonly string[]
}

/**
 * The rows of a package's metrics table: `| metric | kind | attributes |`, one metric a row, its kind and unit, its attributes as code with their
 * values in parentheses behind them.
 */
export function describedBy(owner: string): Described[] {
  const lines = readFileSync(join(root, 'packages', owner, 'README.md'), 'utf8').split('\n')
  const head = lines.findIndex((line) => /^\|\s*metric\s*\|\s*kind\s*\|\s*attributes\s*\|/.test(line))
  if (head < 0) return []
  const rows = lines.slice(head + 2)
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith('|')),
    )
    .map((row) => {
      const [name = '', kind = '', attributes = ''] = row
        .slice(1)
        .split('|')
        .map((cell) => cell.trim())
      const labels = [...outsideParentheses(attributes).matchAll(/`([^`]+)`/g)].map(([, label]) => label!)
      return { name: name.replaceAll('`', ''), kind, labels }
    })
}

function outsideParentheses(text: string): string {
  const without = text.replaceAll(/\([^()]*\)/g, '')
  return without === text ? text : outsideParentheses(without)
}
