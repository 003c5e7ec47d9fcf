/** Steps through a text. Each is linear in what it passes, or bounded. */

export const quotes = '"\'`'
export const longestName = 128
const colour = /\u001b\[[\d;]{0,16}m/y // oxlint-disable-line no-control-regex
const colourBefore = /\u001b\[[\d;]{0,16}m$/ // oxlint-disable-line no-control-regex

/** A blank, also one that does not break, and the wide one of East Asia; those without a width hide inside a name. */
export function isBlank(code: number): boolean {
  return code === 32 || code === 9 || code === 0xa0 || code === 0x3000 || (code >= 0x2000 && code <= 0x200a)
}

export function isBreak(code: number): boolean {
  return code === 10 || code === 13
}

/** Letters, digits, `_ - . $ % @ [ ]` and whatever is not ASCII and no separator. */
export function isNamePart(code: number): boolean {
  if (code >= 128) return !isBlank(code) && code !== 0xff1a && code !== 0xff1d && code !== 0x2192
  if (code >= 97 && code <= 122) return true
  if ((code >= 64 && code <= 91) || (code >= 48 && code <= 57)) return true
  return code === 93 || code === 95 || code === 45 || code === 46 || code === 36 || code === 37
}

/** Past blanks and the sequences that colour a terminal. */
export function afterBlanks(text: string, from: number): number {
  let at = from
  for (;;) {
    while (at < text.length && isBlank(text.charCodeAt(at))) at++
    if (text.charCodeAt(at) !== 27) return at
    colour.lastIndex = at
    const found = colour.exec(text)
    if (found === null) return at
    at += found[0].length
  }
}

export function beforeBlanks(text: string, end: number, from: number): number {
  let at = end
  for (;;) {
    while (at > from && isBlank(text.charCodeAt(at - 1))) at--
    if (text[at - 1] !== 'm') return at
    const found = colourBefore.exec(text.slice(Math.max(from, at - 20), at))
    if (found === null) return at
    at -= found[0].length
  }
}

/** Of the line that the index is in, or as far back as a name can matter. */
export function lineStart(text: string, index: number): number {
  for (let at = index; at > 0 && index - at <= 2 * longestName; at--) if (text.charCodeAt(at - 1) === 10) return at
  return Math.max(0, index - 2 * longestName)
}

export function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\n', from)
  if (end < 0) return text.length
  return text[end - 1] === '\r' && end > from ? end - 1 : end
}

export function firstOfAny(text: string, from: number, characters: string): number {
  for (let index = from; index < text.length; index++) if (characters.includes(text[index]!)) return index
  return text.length
}

export function lastOfAny(text: string, index: number, from: number, characters: string): number {
  for (let at = index; at >= from && index - at <= longestName; at--) if (characters.includes(text[at]!)) return at
  return -1
}

/** The end of a text in quotes whose quotes are escaped `level` times; a quote that is escaped less ends the text around it, and this one too. */
export function endOfString(text: string, from: number, quote: string, level: number): number {
  for (let index = text.indexOf(quote, from); index >= 0; index = text.indexOf(quote, index + 1)) {
    const slashes = slashesBefore(text, index, from)
    if (endsAt(slashes, level)) return index - Math.min(slashes, 2 ** level - 1)
  }
  return text.length
}

function endsAt(slashes: number, level: number): boolean {
  if (slashes % 2 === 0) return true
  return level > 0 && endsAt((slashes - 1) / 2, level - 1)
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
export function levelOf(slashes: number): number {
  return Math.floor(Math.log2(slashes + 1))
}

export function slashesBefore(text: string, index: number, from = 0): number {
  let count = 0
  while (index - count - 1 >= from && text.charCodeAt(index - count - 1) === 92) count++
  return count
}

export function slashesAfter(text: string, index: number): number {
  let count = 0
  while (text.charCodeAt(index + count) === 92) count++
  return count
}
