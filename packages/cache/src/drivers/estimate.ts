/** Rough heap size of a value in bytes; stops counting above `limit`. Shared parts and cycles count once. */
export function estimateBytes(value: unknown, limit: number): number {
  if (typeof value === 'string') return 16 + value.length * 2
  if (typeof value !== 'object' || value === null) return 8
  let bytes = 0
  const seen = new Set<object>([value])
  const left: object[] = [value]
  const add = (part: unknown) => {
    if (typeof part === 'string') bytes += 16 + part.length * 2
    else if (typeof part !== 'object' || part === null) bytes += 8
    else if (!seen.has(part)) {
      seen.add(part)
      left.push(part)
    }
  }
  for (let part = left.pop(); part !== undefined && bytes <= limit; part = left.pop()) {
    bytes += 32
    if (ArrayBuffer.isView(part)) bytes += part.byteLength
    else if (part instanceof ArrayBuffer) bytes += part.byteLength
    else if (Array.isArray(part)) for (const item of part) add(item)
    else if (part instanceof Map)
      for (const [key, item] of part) {
        add(key)
        add(item)
      }
    else if (part instanceof Set) for (const item of part) add(item)
    else
      for (const key of Object.keys(part)) {
        bytes += 16
        add((part as Record<string, unknown>)[key])
      }
  }
  return bytes
}
