import {
  afterBlanks,
  endOfBrackets,
  endOfString,
  firstOfAny,
  isBlank,
  isBreak,
  levelOf,
  lineEnd,
  lineStart,
  quotes,
  slashesAfter,
} from './text-steps.ts'

/** Where a value stands in a text. */
export interface Extent {
  readonly start: number
  readonly end: number
  /** A value of JSON without quotes, which a mark in quotes keeps readable as JSON. */
  readonly isQuotable: boolean
}

export interface Name {
  readonly text: string
  readonly start: number
  /** Depth of escaping of the quotes around it; none without quotes. */
  readonly level: number | undefined
  readonly isInBrackets: boolean
}

/** What stands between a name and its value. `encoded` is `%3D` or `%3A`; `pair` is the comma of `['password', '…']`; `cell` the line of a table. */
export type Mark = 'colon' | 'equals' | 'compared' | 'arrow' | 'encoded' | 'pair' | 'cell' | 'blank'

/** Their value is the rest of the line, also as `X-Original-Authorization` and `HTTP_COOKIE`. */
const wholeLine = /(?:^|[-_.]|proxy)authorization$|(?:^|[-_.]|set)cookie2?$/i
/** Where it is only a part of one: a list of cookies, a scheme with its token or its parameters. */
const partOfLine =
  /(?:[^\s;"'`[{]{1,4096}(?:;[ \t]{0,8}(?:[\w.!%+-]{1,128}=[^\s;"'`)\]}]{0,4096}|HttpOnly\b|Secure\b)){1,64}|(?:basic|bearer|token|api-?key|key|jwt|negotiate|ntlm|bot|splunk|geniekey|ssws) {1,8}[^\s"'`,;]{1,4096}|[A-Za-z][\w-]{1,31} {1,8}(?:[\w-]{1,64}=(?:"[^"]{0,4096}"|[^\s,"']{1,4096}),\s{0,8}){1,64}[\w-]{1,64}=(?:"[^"]{0,4096}"|[^\s,"']{1,4096}))/iy
const literals = /^(?:true|false|null|undefined|none)(?![\w-])/i
/** What a language writes before the quote: `b'…'`, `E'…'`, `Some("…")`, `string(13) "…"`, `s:13:"…"`. */
const beforeQuote = /(?:s:\d{1,9}:|[A-Za-z]{1,8}\(\d{1,9}\) |[A-Za-z]{1,16}\(|[A-Za-z]{1,3})(?=["'`])/y
const closingOf: Readonly<Record<string, string>> = { '“': '”', '„': '“', '«': '»', '‘': '’', '「': '」' }
/** What begins the next pair. */
const pair = /["'\s]{0,4}[\w.$%[\]-]{1,64}["']?\s?[:=]/y

export function valueAfter(text: string, from: number, mark: Mark, name: Name): Extent | undefined {
  if (mark === 'encoded') return { start: from, end: endOfEncoded(text, from), isQuotable: false }
  const start = afterBlanks(text, from)
  if (mark === 'pair' || mark === 'compared') return inQuotes(text, text[start] === '\n' ? afterBlanks(text, start + 1) : start)
  if (mark === 'colon' || mark === 'arrow') {
    const below = placeBelow(text, start)
    if (below !== undefined) return valueBelow(text, below, name)
    if (mark === 'colon' && name.level === undefined && wholeLine.test(name.text))
      return restOfHeader(text, start, text[name.start - 1] ?? '')
  }
  if (mark === 'equals' && wholeLine.test(name.text)) {
    partOfLine.lastIndex = start
    const found = partOfLine.exec(text)
    if (found !== null) return { start, end: start + found[0].length, isQuotable: false }
  }
  if (name.isInBrackets && text[start] === '(') return { start: start + 1, end: firstOfAny(text, start, ')'), isQuotable: false }
  if (mark === 'cell')
    return { start, end: Math.min(lineEnd(text, start), start + endOfCell(text.slice(start, start + 4_096))), isQuotable: false }
  return valueAt(text, start, mark, name)
}

function valueAt(text: string, start: number, mark: Mark, name: Name): Extent | undefined {
  const quoted = inQuotes(text, start)
  if (quoted !== undefined) return quoted
  const opening = text[start] ?? ''
  if (opening === '{' || opening === '[' || (opening === '\\' && name.level === undefined)) {
    if (text.startsWith('[redacted]', start)) return undefined
    if (opening !== '\\') return { start, end: endOfBrackets(text, start, name.level ?? 0), isQuotable: name.level === 0 }
  }
  if (literals.test(text.slice(start, start + 10))) return undefined
  if (name.level !== undefined) return { start, end: firstOfAny(text, start, ',}] \t\r\n\\"'), isQuotable: name.level === 0 }
  return { start, end: endOfBare(text, start, ownsLine(text, name, mark)), isQuotable: false }
}

/** A text in quotes of any kind, also in three of them, also joined by `+` with those that follow. */
function inQuotes(text: string, start: number): Extent | undefined {
  beforeQuote.lastIndex = start
  const at = start + (beforeQuote.exec(text)?.[0].length ?? 0)
  const closing = closingOf[text[at] ?? '']
  if (closing !== undefined) {
    const end = text.indexOf(closing, at + 1)
    return { start: at + 1, end: end < 0 ? text.length : end, isQuotable: false }
  }
  const slashes = slashesAfter(text, at)
  const quote = text[at + slashes] ?? ''
  if (quote === '' || !quotes.includes(quote)) return undefined
  const inner = at + slashes + 1
  if (slashes === 0 && text.startsWith(quote + quote, inner)) {
    const end = text.indexOf(quote.repeat(3), inner + 2)
    return { start: inner + 2, end: end < 0 ? text.length : end, isQuotable: false }
  }
  let end = endOfString(text, inner, quote, levelOf(slashes))
  const joined = /["'`]\s{0,80}\+\s{0,80}["'`]/y
  for (joined.lastIndex = end; slashes === 0; joined.lastIndex = end) {
    const found = joined.exec(text)
    if (found === null) break
    end = endOfString(text, end + found[0].length, found[0].at(-1)!, 0)
  }
  return { start: inner, end, isQuotable: false }
}

/** Of a value without quotes: what ends it must be followed by what can follow a value, since secrets are full of signs. */
function endOfBare(text: string, start: number, ownsTheLine: boolean): number {
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (isBreak(code) || code === 27) return index
    if (isBlank(code)) {
      if (!ownsTheLine || (!isBlank(text.charCodeAt(index - 1)) && beginsPair(text, index))) return index
    } else if (isSeparating(code) ? endsItem(text, index + 1) : isClosing(code) && endsGroup(text, index + 1)) return index
  }
  return text.length
}

/** `, ; &` */
function isSeparating(code: number): boolean {
  return code === 44 || code === 59 || code === 38
}

/** `" ' ) > ] } and the backtick */
function isClosing(code: number): boolean {
  return code === 34 || code === 39 || code === 41 || code === 62 || code === 93 || code === 125 || code === 96
}

function endsItem(text: string, next: number): boolean {
  return endsGroup(text, next) || beginsPair(text, next)
}

function endsGroup(text: string, next: number): boolean {
  const code = text.charCodeAt(next)
  return Number.isNaN(code) || isBlank(code) || isBreak(code) || isSeparating(code) || isClosing(code) || '.:|+\\<'.includes(text[next]!)
}

function beginsPair(text: string, at: number): boolean {
  pair.lastIndex = at
  return pair.test(text)
}

/** `password: correct horse`, at the beginning of its line or sentence, as YAML and INI have it. */
function ownsLine(text: string, name: Name, mark: Mark): boolean {
  if (mark !== 'colon' && !(mark === 'equals' && isBlank(text.charCodeAt(name.start + name.text.length)))) return false
  const begin = lineStart(text, name.start)
  return name.start - begin <= 64 && /(?:^|[:.] )[\s>*-]*$/.test(text.slice(begin, name.start))
}

/** Where the next line begins, when nothing but `|` or `>` of YAML stands on this one any more. */
function placeBelow(text: string, start: number): number | undefined {
  const rest = /(?:[|>][+-]?\d?[ \t]{0,80})?\r?\n/y
  rest.lastIndex = start
  const found = rest.exec(text)
  return found === null ? undefined : start + found[0].length
}

/** `password:` and below it a line, or all lines that stand further in. Frames of a stack are none. */
function valueBelow(text: string, from: number, name: Name): Extent | undefined {
  let line = from
  while (line < text.length && afterBlanks(text, line) === lineEnd(text, line) && lineEnd(text, line) < text.length)
    line = nextLine(text, line)
  const start = afterBlanks(text, line)
  if (start >= text.length || isFrame(text, start)) return undefined
  if (name.level !== undefined) return valueAt(text, start, 'colon', name)
  const begin = lineStart(text, name.start)
  const indent = Math.min(name.start, afterBlanks(text, begin)) - begin
  const isList = text.startsWith('- ', start)
  if (start - line <= indent && !isList)
    return beginsPair(text, start) ? undefined : { start, end: lineEnd(text, start), isQuotable: false }
  let end = lineEnd(text, start)
  for (let next = nextLine(text, start); next < text.length; next = nextLine(text, next)) {
    const at = afterBlanks(text, next)
    const isEmpty = at >= lineEnd(text, next)
    if (!isEmpty && (isFrame(text, at) || (at - next <= indent && !(isList && text.startsWith('- ', at))))) break
    if (!isEmpty) end = lineEnd(text, next)
  }
  return { start, end, isQuotable: false }
}

function nextLine(text: string, from: number): number {
  const end = text.indexOf('\n', from)
  return end < 0 ? text.length : end + 1
}

function isFrame(text: string, at: number): boolean {
  return text.startsWith('at ', at)
}

/** A header that stands in quotes ends with them; a folded one goes on with a blank. A scheme in front, like `Basic`, stays readable. */
function restOfHeader(text: string, start: number, before: string): Extent {
  let end = firstOfAny(text, start, quotes.includes(before) ? `\r\n${before}` : '\r\n')
  const folded = /\r?\n[ \t]{1,80}(?!at )\S[^\r\n]*/y
  for (folded.lastIndex = end; ; folded.lastIndex = end) {
    const found = folded.exec(text)
    if (found === null) break
    end += found[0].length
  }
  const scheme = /^[A-Za-z]{4,12} +(?=\S)/.exec(text.slice(start, Math.min(end, start + 32)))?.[0] ?? ''
  return { start: start + scheme.length, end, isQuotable: false }
}

function endOfEncoded(text: string, from: number): number {
  const end = /%2[36]|[& \t\r\n"'<>]/g
  end.lastIndex = from
  return end.exec(text)?.index ?? text.length
}

function endOfCell(rest: string): number {
  const end = rest.search(/\s*(?:\||\r?\n|$)/)
  return end < 0 ? rest.length : end
}
