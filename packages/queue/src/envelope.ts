import { isStorableText } from '@platform/kernel'

/** A message as it travels. The body is JSON text, so that no driver ever re-encodes it. */
export interface Envelope {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly key?: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** Milliseconds since the epoch, by the publisher's clock. */
  readonly publishedAt: number
  readonly body: string
}

/** What every driver can store and every consumer must accept; more is refused when published and a dead letter when it arrives. */
export const envelopeLimits = { textBytes: 255, headerNameBytes: 128, headersBytes: 32_768 } as const

/** The latest moment that a Date can hold. */
const maxTimestamp = 8.64e15

/** Ids and keys. */
export function isIdentifier(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= envelopeLimits.textBytes && isStorableText(value)
}

/** What is wrong with the headers, if anything; names only, values may be secret. */
export function headersFault(headers: Readonly<Record<string, unknown>>): string | undefined {
  let bytes = 0
  for (const [name, value] of Object.entries(headers)) {
    if (name === '' || Buffer.byteLength(name) > envelopeLimits.headerNameBytes || !isStorableText(name)) {
      return `a header's name must have 1 to ${envelopeLimits.headerNameBytes} bytes of well-formed text`
    }
    if (typeof value !== 'string' || !isStorableText(value)) return `the header ${name} must be well-formed text without NUL`
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  }
  return bytes > envelopeLimits.headersBytes ? `the headers have ${bytes} bytes, more than ${envelopeLimits.headersBytes}` : undefined
}

/** An envelope out of what somebody sent, whose headers become its own; `undefined` for everything that is none. */
export function parseEnvelope(data: unknown): Envelope | undefined {
  if (typeof data !== 'object' || data === null) return undefined
  const { id, name, version, key, headers, publishedAt, body } = data as Partial<Record<keyof Envelope, unknown>>
  const proper =
    isIdentifier(id) &&
    isIdentifier(name) &&
    typeof version === 'number' &&
    Number.isSafeInteger(version) &&
    version >= 1 &&
    (key === undefined || key === null || isIdentifier(key)) &&
    typeof publishedAt === 'number' &&
    Math.abs(publishedAt) <= maxTimestamp &&
    typeof body === 'string' &&
    typeof headers === 'object' &&
    headers !== null &&
    headersFault(headers as Record<string, unknown>) === undefined
  if (!proper) return undefined
  return {
    id,
    name,
    version,
    ...(typeof key === 'string' ? { key } : {}),
    headers: headers as Record<string, string>,
    publishedAt,
    body,
  }
}
