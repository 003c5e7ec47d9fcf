/**
 * Finds what a text says under a secret name: JSON in it (at any depth of escaping), forms and queries, headers, what `inspect` prints. One pass
 * from left to right; each `:` and `=` looks back for a name, and a secret one hides the value that follows.
 */
type IsSecret = (name: string) => boolean

const longestName = 128
const quotes = '"\'`'
/** Their value is the rest of the line. */
const wholeLine = /^(?:proxy-?)?authorization$|^(?:set-?)?cookie2?$/i
const literals = /^(?:true|false|null|undefined|none)(?![\w-])/i

interface Name {
  readonly text: string
  readonly start: number
  /** Depth of escaping of the quotes around it; none without quotes. */
  readonly level: number | undefined
  readonly isInBrackets: boolean
}

export function hideNamedValues(text: string, isSecret: IsSecret, replacement: string): string {
  let out = ''
  let kept = 0
  for (let index = 0; index < text.length; index++) {
    const mark = separatorAt(text, index)
    if (mark === undefined) continue
    const name = mark === '>' ? elementBefore(text, index, kept) : nameBefore(text, index, kept)
    if (name === undefined || !isSecret(name.text)) continue
    const value = valueAfter(text, index + mark.length, mark, name)
    if (value === undefined || value.end <= value.start) continue
    out += text.slice(kept, value.start) + (value.isQuotable ? `"${replacement}"` : replacement)
    kept = value.end
    index = kept - 1
  }
  return kept === 0 ? text : out + text.slice(kept)
}

/** `--password value`, and the parts of a form that is sent as multipart. */
export function hideFlagsAndParts(text: string, isSecret: IsSecret, replacement: string): string {
  const clean = text.includes('--')
    ? text.replaceAll(/(--[\w-]{1,64} +)([^\s-]\S*)/g, (found, flag: string) =>
        isSecret(flag.trim().slice(2)) ? flag + replacement : found,
      )
    : text
  const head = 'form-data; name="'
  let out = ''
  let kept = 0
  for (let index = clean.indexOf(head); index >= 0; index = clean.indexOf(head, index + 1)) {
    const nameAt = index + head.length
    const nameEnd = firstOfAny(clean, nameAt, '"\r\n')
    if (nameAt < kept || !isSecret(clean.slice(nameAt, nameEnd))) continue
    const bodyAt = /\r?\n\r?\n/g
    bodyAt.lastIndex = nameEnd
    const blank = bodyAt.exec(clean)
    if (blank === null) break
    const from = blank.index + blank[0].length
    const end = clean.indexOf('\n--', from)
    out += clean.slice(kept, from) + replacement
    kept = end < 0 ? clean.length : end
    index = kept - 1
  }
  return kept === 0 ? clean : out + clean.slice(kept)
}

/** `:`, `=`, either percent-encoded, or the `>` of an element. */
function separatorAt(text: string, index: number): string | undefined {
  const code = text.charCodeAt(index)
  if (code === 58 || code === 61 || code === 62) return text[index]
  if (code !== 37 || text[index + 1] !== '3') return undefined
  const letter = text[index + 2]
  return letter === 'D' || letter === 'd' || letter === 'A' || letter === 'a' ? text.slice(index, index + 3) : undefined
}

function nameBefore(text: string, index: number, from: number): Name | undefined {
  let end = index
  while (end > from && isBlank(text.charCodeAt(end - 1))) end--
  const last = text[end - 1] ?? ''
  if (last !== '' && quotes.includes(last)) {
    const slashes = slashesBefore(text, end - 1)
    const nameEnd = end - 1 - slashes
    const start = lastIndexOfAny(text, nameEnd - 1, from, last)
    return start < 0 ? undefined : { text: text.slice(start + 1, nameEnd), start: start + 1, level: levelOf(slashes), isInBrackets: false }
  }
  if (last === ')') {
    const start = lastIndexOfAny(text, end - 2, from, '(')
    return start < 0 ? undefined : { text: text.slice(start + 1, end - 1), start: start + 1, level: undefined, isInBrackets: true }
  }
  let start = end
  while (start > from && end - start < longestName && isNamePart(text.charCodeAt(start - 1))) start--
  const name = text.slice(start, end)
  return name === '' ? undefined : { text: name.includes('%') ? decoded(name) : name, start, level: undefined, isInBrackets: false }
}

/** The name of the element that opens here: `<ns:password>`. */
function elementBefore(text: string, index: number, from: number): Name | undefined {
  let start = index
  while (start > from && index - start < longestName && (isNamePart(text.charCodeAt(start - 1)) || text[start - 1] === ':')) start--
  if (start === index || text[start - 1] !== '<') return undefined
  return { text: text.slice(start, index), start, level: undefined, isInBrackets: false }
}

interface Extent {
  readonly start: number
  readonly end: number
  /** A value of JSON without quotes, which a mark in quotes keeps readable as JSON. */
  readonly isQuotable: boolean
}

function valueAfter(text: string, from: number, mark: string, name: Name): Extent | undefined {
  let start = from
  if (mark === '=' && text[start] === '>') start++
  while (start < text.length && isBlank(text.charCodeAt(start))) start++
  if (mark === '>') return { start: from, end: firstOfAny(text, from, '<'), isQuotable: false }
  if (mark.startsWith('%')) return { start, end: firstOfAny(text, start, '& \t\r\n"\'<>', ['%26', '%23']), isQuotable: false }
  if (name.isInBrackets && text[start] === '(') return { start: start + 1, end: firstOfAny(text, start, ')'), isQuotable: false }
  if (mark === ':' && name.level === undefined && wholeLine.test(name.text)) return restOfLine(text, start, text[name.start - 1] ?? '')
  const slashes = slashesAfter(text, start)
  const opening = text[start + slashes] ?? ''
  if (opening !== '' && quotes.includes(opening)) {
    const inner = start + slashes + 1
    return { start: inner, end: endOfString(text, inner, opening, levelOf(slashes)), isQuotable: false }
  }
  if (opening === '{' || opening === '[') {
    const isMark = text.startsWith('[redacted]', start)
    return { start, end: isMark ? start : endOfBrackets(text, start, name.level ?? 0), isQuotable: name.level === 0 }
  }
  if (literals.test(text.slice(start, start + 10))) return undefined
  if (name.level !== undefined) return { start, end: firstOfAny(text, start, ',}] \t\r\n\\"'), isQuotable: name.level === 0 }
  return { start, end: firstOfAny(text, start, mark === '=' ? '& \t\r\n#;"\'<>' : ' \t\r\n,;&"\'<>)}]'), isQuotable: false }
}

/** A header that stands in quotes ends with them. A scheme in front, like `Basic`, stays readable. */
function restOfLine(text: string, start: number, before: string): Extent {
  const end = firstOfAny(text, start, quotes.includes(before) ? `\r\n${before}` : '\r\n')
  const scheme = /^[A-Za-z]{4,12} +(?=\S)/.exec(text.slice(start, Math.min(end, start + 32)))?.[0] ?? ''
  return { start: start + scheme.length, end, isQuotable: false }
}

/** The end of a text in quotes whose quotes are escaped `level` times; a quote that is escaped less ends the text around it, and this one too. */
function endOfString(text: string, from: number, quote: string, level: number): number {
  for (let index = text.indexOf(quote, from); index >= 0; index = text.indexOf(quote, index + 1)) {
    const slashes = slashesBefore(text, index, from)
    if (endsAt(slashes, level)) return index - ownSlashes(slashes, level)
  }
  return text.length
}

function endsAt(slashes: number, level: number): boolean {
  if (slashes % 2 === 0) return true
  return level > 0 && endsAt((slashes - 1) / 2, level - 1)
}

/** The slashes before a closing quote that belong to it and not to the value. */
function ownSlashes(slashes: number, level: number): number {
  return Math.min(slashes, 2 ** level - 1)
}

export function endOfBrackets(text: string, from: number, level: number): number {
  let depth = 0
  for (let index = from; index < text.length; index++) {
    const character = text[index]!
    if (character === '{' || character === '[') depth++
    else if (character === '}' || character === ']') depth--
    else if (quotes.includes(character)) index = endOfString(text, index + 1, character, level) + 2 ** level - 1
    if (depth === 0) return index + 1
  }
  return text.length
}

/** 1 escapes a quote once, 3 twice, 7 three times. */
function levelOf(slashes: number): number {
  return Math.floor(Math.log2(slashes + 1))
}

function slashesBefore(text: string, index: number, from = 0): number {
  let count = 0
  while (index - count - 1 >= from && text.charCodeAt(index - count - 1) === 92) count++
  return count
}

function slashesAfter(text: string, index: number): number {
  let count = 0
  while (text.charCodeAt(index + count) === 92) count++
  return count
}

function lastIndexOfAny(text: string, index: number, from: number, characters: string): number {
  for (let at = index; at >= from && index - at <= longestName; at--) if (characters.includes(text[at]!)) return at
  return -1
}

function firstOfAny(text: string, from: number, characters: string, words: readonly string[] = []): number {
  for (let index = from; index < text.length; index++) {
    if (characters.includes(text[index]!) || words.some((each) => text.startsWith(each, index))) return index
  }
  return text.length
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9
}

/** Letters, digits, `_ - . $ % [ ]` and whatever is not ASCII. */
function isNamePart(code: number): boolean {
  if (code >= 128) return true
  if (code >= 97 && code <= 122) return true
  return (
    (code >= 64 && code <= 91) ||
    code === 93 ||
    (code >= 48 && code <= 57) ||
    code === 95 ||
    code === 45 ||
    code === 46 ||
    code === 36 ||
    code === 37
  )
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}
