const LONGEST_MS = 2 ** 31 * 1000

/**
 * How long the other side asked to stay away: `retryAfterMs` of an error, or the Retry-After header of a response, of an error, or of the
 * error's `response`. Headers may be a `Headers`, a Map, an object of any case, pairs, or the flat list of node:http and undici.
 */
export function retryAfterMs(source: unknown): number | undefined {
  if (typeof source !== 'object' || source === null) return undefined
  try {
    const { retryAfterMs: own, headers, rawHeaders, response, cause } = source as Record<string, unknown>
    if (typeof own === 'number') return own >= 0 ? own : undefined
    const from = (response ?? {}) as Record<string, unknown>
    for (const each of [
      headers,
      rawHeaders,
      from['headers'],
      from['rawHeaders'],
      (cause as Record<string, unknown> | undefined)?.['headers'],
    ]) {
      const ms = fromHeaders(each)
      if (ms !== undefined) return ms
    }
  } catch {
    // A getter of somebody else's object.
  }
  return undefined
}

function fromHeaders(headers: unknown): number | undefined {
  if (typeof headers !== 'object' || headers === null) return undefined
  const value = header(headers, 'retry-after')
  if (value === undefined) return undefined
  if (/^\d{1,12}(\.\d+)?$/.test(value)) return Math.min(LONGEST_MS, Number(value) * 1000)
  const at = Date.parse(value)
  if (Number.isNaN(at)) return undefined
  // A date is measured against the sender's own clock, if it told it.
  const sentAt = Date.parse(header(headers, 'date') ?? '')
  return Math.max(0, at - (Number.isNaN(sentAt) ? Date.now() : sentAt))
}

function header(headers: object, name: string): string | undefined {
  const { get } = headers as { get?: unknown }
  if (typeof get === 'function') return text(get.call(headers, name)) ?? (headers instanceof Map ? among([...headers], name) : undefined)
  if (Array.isArray(headers)) return among(Array.isArray(headers[0]) ? (headers as [unknown, unknown][]) : inPairs(headers), name)
  return among(Object.entries(headers), name)
}

function among(pairs: Iterable<[unknown, unknown]>, name: string): string | undefined {
  for (const [key, value] of pairs) if (text(key)?.toLowerCase() === name) return text(value)
  return undefined
}

function* inPairs(flat: readonly unknown[]): Generator<[unknown, unknown]> {
  for (let at = 0; at + 1 < flat.length; at += 2) yield [flat[at], flat[at + 1]]
}

function text(value: unknown): string | undefined {
  if (Array.isArray(value)) return text(value[0])
  if (typeof value === 'string') return value.trim()
  return typeof value === 'number' || value instanceof Uint8Array
    ? Buffer.from(String(value instanceof Uint8Array ? Buffer.from(value) : value)).toString()
    : undefined
}
