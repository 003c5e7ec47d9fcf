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

/** What a driver writes behind a statement. */
const parameterMarks = ['\nparams: ', ' -- PARAMETERS: ']
const firstFrame = '\n    at '

/** `Failed query: … "password" …\nparams: …`: the values have no names but those of the statement before them. */
export function hideParameters(text: string, isSecret: IsSecret, replacement: string): string {
  for (const mark of parameterMarks) {
    const at = text.indexOf(mark)
    if (at < 0 || !namesSecret(text.slice(0, at), isSecret)) continue
    const end = text.indexOf(firstFrame, at)
    return text.slice(0, at + mark.length) + replacement + (end < 0 ? '' : text.slice(end))
  }
  return text
}

const failingRow = 'Failing row contains ('

/** PostgreSQL shows a row that broke a rule, and names no column of it. */
export function hideFailingRow(text: string, replacement: string): string {
  const at = text.indexOf(failingRow)
  if (at < 0) return text
  const from = at + failingRow.length
  const end = text.lastIndexOf(').')
  return text.slice(0, from) + replacement + (end < from ? '' : text.slice(end))
}

const longestStatement = 16_384
const identifier = /[\p{L}_][\p{L}\p{N}_]*/gu

export function namesSecret(statement: string, isSecret: IsSecret): boolean {
  return statement.slice(0, longestStatement).match(identifier)?.some(isSecret) === true
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
