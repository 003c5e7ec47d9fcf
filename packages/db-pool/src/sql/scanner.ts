/**
 * What the server's lexer would see, as far as it matters here. One pass, no backtracking: the time is linear in the length of the text.
 * `doubt` is given where the meaning depends on what cannot be seen: a backslash in a plain literal (standard_conforming_strings), an
 * identifier in Unicode escapes, something that does not end.
 */
export type Token =
  | { readonly kind: 'word'; readonly text: string }
  | { readonly kind: 'quoted'; readonly text: string }
  | { readonly kind: 'literal' }
  | { readonly kind: 'mark'; readonly text: string }
  | { readonly kind: 'doubt' }

const isSpace = /[ \t\n\r\f\v]/
const isWordStart = /[A-Za-z_\u0080-\uffff]/
const wordPart = /[\w$\u0080-\uffff]*/y
const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y

export function* scan(text: string): Generator<Token, void> {
  let at = 0
  while (at < text.length) {
    const char = text[at] as string
    if (isSpace.test(char)) {
      at++
    } else if (char === '-' && text[at + 1] === '-') {
      at = endOfLine(text, at)
    } else if (char === '/' && text[at + 1] === '*') {
      at = endOfComment(text, at)
      if (at < 0) return yield { kind: 'doubt' }
    } else if (char === "'") {
      const end = endOfQuoted(text, at, "'")
      if (end < 0) return yield { kind: 'doubt' }
      yield text.slice(at, end).includes('\\') ? { kind: 'doubt' } : { kind: 'literal' }
      at = end
    } else if (char === '"') {
      const end = endOfQuoted(text, at, '"')
      if (end < 0) return yield { kind: 'doubt' }
      yield { kind: 'quoted', text: text.slice(at + 1, end - 1).replaceAll('""', '"') }
      at = end
    } else if (char === '$') {
      dollarTag.lastIndex = at
      const tag = dollarTag.exec(text)?.[0]
      if (tag === undefined) {
        at++
        while (text[at] !== undefined && /\d/.test(text[at] as string)) at++
      } else {
        const end = text.indexOf(tag, at + tag.length)
        if (end < 0) return yield { kind: 'doubt' }
        yield { kind: 'literal' }
        at = end + tag.length
      }
    } else if (isWordStart.test(char)) {
      wordPart.lastIndex = at
      const word = wordPart.exec(text)?.[0] ?? char
      const next = text[at + word.length]
      if ((word === 'e' || word === 'E') && next === "'") {
        const end = endOfEscaped(text, at + 1)
        if (end < 0) return yield { kind: 'doubt' }
        yield { kind: 'literal' }
        at = end
      } else if ((word === 'u' || word === 'U') && next === '&' && /["']/.test(text[at + 2] ?? '')) {
        yield { kind: 'doubt' }
        at += 2
      } else {
        yield { kind: 'word', text: folded(word) }
        at += word.length
      }
    } else {
      yield { kind: 'mark', text: char }
      at++
    }
  }
}

/** As the server folds names: ASCII only. */
function folded(word: string): string {
  return word.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

function endOfLine(text: string, at: number): number {
  while (at < text.length && text[at] !== '\n' && text[at] !== '\r') at++
  return at
}

/** Comments nest. */
function endOfComment(text: string, at: number): number {
  let depth = 0
  for (; at < text.length; at++) {
    if (text[at] === '/' && text[at + 1] === '*') {
      depth++
      at++
    } else if (text[at] === '*' && text[at + 1] === '/') {
      depth--
      at++
      if (depth === 0) return at + 1
    }
  }
  return -1
}

/** A doubled quote is one of the content. */
function endOfQuoted(text: string, at: number, quote: string): number {
  for (let end = text.indexOf(quote, at + 1); end >= 0; end = text.indexOf(quote, end + 2)) {
    if (text[end + 1] !== quote) return end + 1
  }
  return -1
}

function endOfEscaped(text: string, at: number): number {
  for (at++; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === "'") {
      if (text[at + 1] !== "'") return at + 1
      at++
    }
  }
  return -1
}
