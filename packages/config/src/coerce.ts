import type { Kind } from './fields.ts'

export type Coerced = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly expected: string }

const decimal = /^-?(0|[1-9]\d*)(\.\d+)?$/
const right = (value: unknown): Coerced => ({ ok: true, value })
const wrong = (expected: string): Coerced => ({ ok: false, expected })

/**
 * Turns a text into what the schema wants, strictly: decimal numbers (no `0x10`, `1e3`, `8080abc`), `true` or `false`,
 * lists by comma or as JSON, objects as JSON. Never puts the text into a message.
 */
export function coerce(text: string, kind: Kind): Coerced {
  const trimmed = text.trim()
  switch (kind.type) {
    case 'text':
      return right(text)
    case 'number': {
      const value = Number(trimmed)
      const isExact = decimal.test(trimmed) && Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))
      return isExact ? right(value) : wrong('a decimal number')
    }
    case 'bigint':
      return /^-?(0|[1-9]\d*)$/.test(trimmed) ? right(BigInt(trimmed)) : wrong('a whole number')
    case 'boolean':
      return trimmed === 'true' || trimmed === 'false' ? right(trimmed === 'true') : wrong('true or false')
    case 'one-of': {
      const match = kind.values.find((value) => String(value) === trimmed)
      return right(match === undefined ? text : match)
    }
    case 'list':
      return coerceList(trimmed, kind.item)
    case 'object': {
      const value = parseJson(trimmed)
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? right(value) : wrong('an object as JSON')
    }
    case 'any-of':
      return coerceAny(text, kind.options)
  }
}

function coerceList(text: string, item: Kind): Coerced {
  if (text.startsWith('[')) {
    const value = parseJson(text)
    return Array.isArray(value) ? right(value) : wrong('a list as JSON, or values separated by commas')
  }
  const items: unknown[] = []
  for (const part of text.split(',')) {
    const coerced = part.trim() === '' ? wrong('a value') : coerce(part.trim(), item)
    if (!coerced.ok) return wrong(`a list in which each item is ${coerced.expected}`)
    items.push(coerced.value)
  }
  return right(items)
}

/** Text fits almost everywhere, so it is the last that is tried. */
function coerceAny(text: string, options: Extract<Kind, { type: 'any-of' }>['options']): Coerced {
  for (const wanted of ['other', 'text'])
    for (const option of options) {
      if ((option.kind.type === 'text') !== (wanted === 'text')) continue
      const coerced = coerce(text, option.kind)
      if (coerced.ok && option.accepts(coerced.value)) return coerced
    }
  return right(text)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
