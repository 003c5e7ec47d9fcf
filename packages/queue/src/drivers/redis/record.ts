import { parseEnvelope, type Envelope } from '../../envelope.ts'

/** What stands in the hash of messages; the script puts the key and a NUL before it. */
export function toRecord(envelope: Envelope): Buffer {
  return Buffer.from(JSON.stringify(envelope))
}

/** `undefined` for what is no envelope of ours. */
export function parseRecord(record: string): Envelope | undefined {
  try {
    return parseEnvelope(JSON.parse(record.slice(record.indexOf('\0') + 1)))
  } catch {
    return undefined
  }
}
