import type { Invalidation } from './invalidation.ts'
import { isSafeName } from './names.ts'

/** What caches say to each other through a bus. */
export interface BusMessage extends Invalidation {
  /** `ended`: loads of these keys, for whoever waits for them. */
  readonly kind: 'invalidation' | 'heartbeat' | 'ended'
  readonly publisher: string
  /** Of an invalidation: its number. Of the others: the last number that the server has taken. */
  readonly sequence: number
  /** Number of a heartbeat; 0 in the others. */
  readonly beat: number
}

const kinds: readonly BusMessage['kind'][] = ['invalidation', 'heartbeat', 'ended']
const formatVersion = 2
/** No bus takes more: what is longer is not ours. */
const maxPayloadLength = 1_000_000

export function formatMessage({ kind, publisher, sequence, beat, keys, tags, all }: BusMessage): string {
  return JSON.stringify([formatVersion, kinds.indexOf(kind), publisher, sequence, beat, keys, tags, all])
}

/** Undefined: no message of ours. Whoever can write to the channel is not believed further than this. */
export function parseMessage(payload: string): BusMessage | undefined {
  if (typeof payload !== 'string' || payload.length > maxPayloadLength) return undefined
  let parts: unknown
  try {
    parts = JSON.parse(payload)
  } catch {
    return undefined
  }
  if (!Array.isArray(parts) || parts.length !== 8 || parts[0] !== formatVersion) return undefined
  const [, index, publisher, sequence, beat, keys, tags, all] = parts as unknown[]
  const kind = isCount(index) ? kinds[index] : undefined
  if (kind === undefined || !isSafeName(publisher) || !isCount(sequence) || !isCount(beat)) return undefined
  if (!areNames(keys) || !areNames(tags) || typeof all !== 'boolean') return undefined
  return { kind, publisher, sequence, beat, keys, tags, all }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function areNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isSafeName)
}

/** Parts whose names fit into one payload; names never break. */
export function splitNames(what: Invalidation, maxBytes: number): { keys: string[]; tags: string[] }[] {
  const parts: { keys: string[]; tags: string[] }[] = [{ keys: [], tags: [] }]
  let bytes = 0
  const place = (name: string, list: 'keys' | 'tags') => {
    const size = Buffer.byteLength(JSON.stringify(name)) + 1
    if (bytes > 0 && bytes + size > maxBytes) {
      parts.push({ keys: [], tags: [] })
      bytes = 0
    }
    bytes += size
    ;(parts.at(-1) as { keys: string[]; tags: string[] })[list].push(name)
  }
  for (const key of what.keys) place(key, 'keys')
  for (const tag of what.tags) place(tag, 'tags')
  return parts
}
