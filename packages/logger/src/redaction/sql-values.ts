import { endOfString } from './text-steps.ts'

type IsSecret = (name: string) => boolean

const columns = /\(([^()]{1,4096})\)\s{0,16}VALUES\s{0,16}(?=\()/gi
const nextRow = /\s{0,16},\s{0,16}(?=\()/y

/** `INSERT INTO users (email, password) VALUES ('…', '…'), (…)`: with a secret among the columns no row shows. */
export function hideInsertedValues(text: string, isSecret: IsSecret, replacement: string): string {
  let out = ''
  let kept = 0
  for (const found of text.matchAll(columns)) {
    if (found.index < kept || !found[1]!.split(',').some((column) => isSecret(column.replaceAll(/[\s"`[\]]/g, '')))) continue
    let at = found.index + found[0].length
    out += text.slice(kept, at)
    for (;;) {
      kept = endOfRow(text, at)
      out += `(${replacement})`
      nextRow.lastIndex = kept
      const next = nextRow.exec(text)
      if (next === null) break
      out += next[0]
      at = kept + next[0].length
    }
  }
  return kept === 0 ? text : out + text.slice(kept)
}

function endOfRow(text: string, from: number): number {
  let depth = 0
  for (let index = from; index < text.length; index++) {
    const character = text[index]!
    if (character === "'" || character === '"') index = endOfString(text, index + 1, character, 0)
    else if (character === '(') depth++
    else if (character === ')' && --depth === 0) return index + 1
  }
  return text.length
}
