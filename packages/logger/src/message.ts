import type { Renderer } from './render.ts'

const placeholder = /%[sdifjoOc%]/g

export interface Message {
  readonly text: string
  /** What no placeholder took. */
  readonly rest: readonly unknown[]
}

/** Fills `%s %d %i %f %j %o %O` as pino does; objects come as redacted JSON, so no `toString` of theirs runs. */
export function formatMessage(text: string, params: readonly unknown[], renderer: () => Renderer): Message {
  if (params.length === 0 || !text.includes('%')) return { text, rest: params }
  let used = 0
  const filled = text.replace(placeholder, (found) => {
    if (found === '%%') return '%'
    if (used >= params.length) return found
    const value = params[used++]
    switch (found) {
      case '%c':
        return ''
      case '%d':
      case '%f':
        return String(numberOf(value))
      case '%i':
        return String(Math.trunc(numberOf(value)))
      case '%s':
        return asText(value, renderer)
      default:
        return renderer().value(value) ?? 'undefined'
    }
  })
  return { text: filled, rest: params.slice(used) }
}

export function asText(value: unknown, renderer: () => Renderer): string {
  if (typeof value === 'string') return value
  if (typeof value === 'object' && value !== null) return renderer().value(value) ?? 'undefined'
  return typeof value === 'function' ? '[function]' : String(value)
}

/** Objects and functions may answer with code of their own, and count as no number. */
function numberOf(value: unknown): number {
  return typeof value === 'object' || typeof value === 'function' || typeof value === 'symbol' ? Number.NaN : Number(value)
}
