import type { Redaction } from './redaction.ts'
import { secretsBegin } from './redis-commands.ts'
import { endOfBrackets } from './text-steps.ts'

/** Longer ones are read by the scanner of names alone. */
const longest = 65_536
const deepest = 32
const mostMisses = 4

/** A text that is JSON as a whole, read as such: names, pairs, texts inside it. `undefined` when it is not JSON. */
export function hideInJson(text: string, redaction: Redaction): string | undefined {
  if (text.length > longest || !looksLikeJson(text)) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  let hasHidden = false
  const hide = () => {
    hasHidden = true
    return redaction.replacement
  }
  const walk = (each: unknown, depth: number): unknown => {
    if (typeof each === 'string') {
      const clean = redaction.text(each)
      hasHidden ||= clean !== each
      return clean
    }
    if (typeof each !== 'object' || each === null) return typeof each === 'number' && redaction.number(each) ? hide() : each
    if (depth > deepest) return '…'
    if (Array.isArray(each)) {
      const from = secretsBegin(each)
      return each.map((item, index) =>
        index >= from || redaction.hidesNext(each[index - 1], item, each.length) ? hide() : walk(item, depth + 1),
      )
    }
    const hides = redaction.hiddenMembers(each, Object.keys(each))
    return Object.fromEntries(
      Object.entries(each).map(([key, member]) => {
        const name = redaction.text(key)
        hasHidden ||= name !== key
        const isSecret = member !== null && typeof member !== 'boolean' && (redaction.isSecretKey(key) || hides?.has(key) === true)
        return [name, isSecret ? hide() : walk(member, depth + 1)]
      }),
    )
  }
  const clean = walk(value, 0)
  return hasHidden ? JSON.stringify(clean) : text
}

/** JSON between other words. What opens like it and is none is tried a few times only. */
export function hideInEmbeddedJson(text: string, redaction: Redaction): string {
  let out = ''
  let kept = 0
  let misses = 0
  for (let index = nextOpening(text, 0); index >= 0 && misses < mostMisses; index = nextOpening(text, index)) {
    const end = endOfBrackets(text, index, 0)
    const clean = end - index < 8 ? undefined : hideInJson(text.slice(index, end), redaction)
    if (clean === undefined) {
      misses++
      index++
      continue
    }
    out += text.slice(kept, index) + clean
    kept = index = end
  }
  return kept === 0 ? text : out + text.slice(kept)
}

function nextOpening(text: string, from: number): number {
  for (let index = from; index < text.length - 1; index++) {
    const code = text.charCodeAt(index)
    if ((code === 123 || code === 91) && '"[{ \n'.includes(text[index + 1]!)) return index
  }
  return -1
}

function looksLikeJson(text: string): boolean {
  if (text.length < 2 || !/[\s[{]/.test(text[0]!)) return false
  const first = /^\s*([[{])/.exec(text)?.[1]
  return first !== undefined && text.trimEnd().endsWith(first === '{' ? '}' : ']')
}
