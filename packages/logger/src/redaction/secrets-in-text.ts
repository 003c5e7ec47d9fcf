/**
 * Finds what a text says under a secret name: JSON in it (at any depth of escaping), forms and queries, headers, YAML, what languages and tools
 * print. One pass from left to right; each mark between a name and a value looks back for the name, and a secret one hides the value that follows.
 */
import { beforeBlanks, isBlank, isNamePart, lastOfAny, levelOf, longestName, quotes, slashesBefore } from './text-steps.ts'
import { type Mark, type Name, valueAfter } from './value-in-text.ts'

type IsSecret = (name: string) => boolean

/** Members that name what another one beside them holds: `{ name: 'password', value: '…' }`. */
const naming = /^(?:name|key|property|path|field|param|id)$/i
const valued = /^(?:value|input|data|content)$/i
const longestGap = 128
/** Last words of names that people write in two: `api key: …`, `prompt tokens: 5`. */
const twoWords = /^(?:keys?|id|number|phrase|tokens)$/i
/** A text in quotes right behind one of these is a secret, as in SQL; behind `token` it is what a parser did not like. */
const passwordWord = /(?:password|passwd|passphrase|passcode|pwd|passwort)$/i
/** `password LIKE '…'`, `the password is '…'` */
const joining = /^(?:i?like|is|was|to)$/i
/** With its value behind it in a list: what holds a blank or `=` is no other name. */
export const header: RegExp = /^(?:proxy-)?authorization$|^(?:set-)?cookie$/i

interface Found {
  readonly mark: Mark
  /** Where the name may end, and the value begin. */
  readonly left: number
  readonly right: number
}

export function hideNamedValues(text: string, isSecret: IsSecret, replacement: string): string {
  let out = ''
  let kept = 0
  // Where a member said that its neighbour is a secret.
  let told = -longestGap
  for (let index = 0; index < text.length; index++) {
    const found = markAt(text, index)
    if (found === undefined) continue
    const name = found.mark === 'pair' ? nameOfPair(text, index, kept, isSecret) : nameBefore(text, found.left, kept)
    if (name === undefined) continue
    const isValueOfTold = index - told < longestGap && valued.test(name.text)
    if (!isValueOfTold && !hides(text, found.mark, name, isSecret, kept)) {
      if (naming.test(name.text) && tellsSecret(text, found, name, isSecret)) told = index
      continue
    }
    const value = valueAfter(text, found.right, found.mark, name)
    if (value === undefined || value.end <= value.start) continue
    out += text.slice(kept, value.start) + (value.isQuotable ? `"${replacement}"` : replacement)
    kept = value.end
    index = kept - 1
    told = -longestGap
  }
  return kept === 0 ? text : out + text.slice(kept)
}

function hides(text: string, mark: Mark, name: Name, isSecret: IsSecret, from: number): boolean {
  if (mark === 'blank') {
    const before = joining.test(name.text) ? nameBefore(text, name.start, from) : name
    return before !== undefined && before.level === undefined && passwordWord.test(before.text)
  }
  if (mark === 'pair') return true
  const hasFirst = name.level === undefined && twoWords.test(name.text)
  const first = hasFirst ? nameBefore(text, name.start, from) : undefined
  return isSecret(first === undefined || first.level !== undefined ? name.text : `${first.text} ${name.text}`)
}

function tellsSecret(text: string, { right, mark }: Found, name: Name, isSecret: IsSecret): boolean {
  const window = text.slice(right, right + longestName)
  const value = valueAfter(window, 0, mark, { ...name, start: 0 })
  return value !== undefined && isSecret(window.slice(value.start, value.end))
}

function markAt(text: string, index: number): Found | undefined {
  const code = text.charCodeAt(index)
  switch (code) {
    case 58: // :
      return found('colon', index, text[index + 1] === '=' ? 2 : 1)
    case 61: // =
      return text[index + 1] === '>' ? found('arrow', index, 2) : (comparisonAt(text, index) ?? found('equals', index, 1))
    case 60: // <> of SQL
      return text[index + 1] === '>' ? found('compared', index, 2) : undefined
    case 0xff1a:
      return found('colon', index, 1)
    case 0xff1d:
      return found('equals', index, 1)
    case 0x2192:
      return found('arrow', index, 1)
    case 45: // ->
      return text[index + 1] === '>' ? found('arrow', index, 2) : undefined
    case 44: // ,
      return quotes.includes(text[index - 1] ?? ' ') ? found('pair', index, 1) : undefined
    case 59: // ; between the texts that PHP writes
      return quotes.includes(text[index - 1] ?? ' ') && text.startsWith('s:', index + 1) ? found('arrow', index, 1) : undefined
    case 124: // |
      return isBlank(text.charCodeAt(index - 1)) && isBlank(text.charCodeAt(index + 1)) ? found('cell', index, 1) : undefined
    case 34: // "
    case 39: // '
      return isAfterBlank(text, index) ? found('blank', text[index - 1] === 'E' ? index - 1 : index, 0) : undefined
    case 37: // %3D, %3A
      return /^%3[AaDd]/.test(text.slice(index, index + 3)) ? found('encoded', index, 3) : undefined
    default:
      return undefined
  }
}

/** `== '…'`, `!== '…'` */
function comparisonAt(text: string, index: number): Found | undefined {
  const isNot = text[index - 1] === '!'
  const width = text.startsWith('==', index + 1) ? 3 : text[index + 1] === '=' ? 2 : 1
  if (!isNot && (width === 1 || !isBlank(text.charCodeAt(index - 1)))) return undefined
  return { mark: 'compared', left: isNot ? index - 1 : index, right: index + width }
}

function found(mark: Mark, left: number, width: number): Found {
  return { mark, left, right: left + width }
}

function isAfterBlank(text: string, index: number): boolean {
  const before = text.charCodeAt(index - 1)
  return isBlank(before) || (before === 69 && isBlank(text.charCodeAt(index - 2)))
}

function nameBefore(text: string, index: number, from: number): Name | undefined {
  let end = beforeBlanks(text, index, from)
  // PHP writes `["password"]`.
  if (text[end - 1] === ']' && quotes.includes(text[end - 2] ?? ' ')) end--
  const last = text[end - 1] ?? ''
  if (last !== '' && quotes.includes(last)) return nameInQuotes(text, end, from)
  if (last === ')') {
    const start = lastOfAny(text, end - 2, from, '(')
    return start < 0 ? undefined : { text: text.slice(start + 1, end - 1), start: start + 1, level: undefined, isInBrackets: true }
  }
  let start = end
  while (start > from && end - start < longestName && isNamePart(text.charCodeAt(start - 1))) start--
  const name = text.slice(start, end)
  return name === '' ? undefined : { text: name.includes('%') ? decoded(name) : name, start, level: undefined, isInBrackets: false }
}

function nameInQuotes(text: string, end: number, from: number): Name | undefined {
  const slashes = slashesBefore(text, end - 1)
  const nameEnd = end - 1 - slashes
  const start = lastOfAny(text, nameEnd - 1, from, text[end - 1]!)
  if (start < 0) return undefined
  const name = text.slice(start + 1, nameEnd)
  return { text: name.includes('\\u') ? unescaped(name) : name, start: start + 1, level: levelOf(slashes), isInBrackets: false }
}

/** `['password', '…']`, `('password', '…')` alone in their brackets; `'--password', '…'` and `'cookie', 'a=b'` anywhere. */
function nameOfPair(text: string, comma: number, from: number, isSecret: IsSecret): Name | undefined {
  const name = nameInQuotes(text, comma, from)
  if (name === undefined || !isSecret(name.text)) return undefined
  if (name.text.startsWith('-')) return name
  if (header.test(name.text)) {
    const value = valueAfter(text, comma + 1, 'pair', name)
    if (value !== undefined && /[ =]/.test(text.slice(value.start, Math.min(value.end, value.start + longestGap)))) return name
  }
  const opening = beforeBlanks(text, name.start - 1 - (2 ** (name.level ?? 0) - 1), from) - 1
  if (text[opening] !== '[' && text[opening] !== '(') return undefined
  const value = valueAfter(text, comma + 1, 'pair', name)
  return value !== undefined && /^[\\"'`]{1,8}\s{0,8}[\])]/.test(text.slice(value.end, value.end + 20)) ? name : undefined
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

function unescaped(name: string): string {
  return name.replaceAll(/\\u([\dA-Fa-f]{4})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
