import type { Target, WireMessage } from './wire.ts'

const frameMethod = 1
const frameHeader = 2
const frameBody = 3
const frameEnd = 0xce
/** Type, channel, size and end. */
const frameBytes = 8
/** `basic.publish`. */
const classId = 60
const methodId = 40
/** In the order in which the properties stand; `headers`, `persistent` and `timestamp` are no texts. */
const flag = {
  contentType: 1 << 15,
  headers: 1 << 13,
  deliveryMode: 1 << 12,
  correlationId: 1 << 10,
  expiration: 1 << 8,
  messageId: 1 << 7,
  timestamp: 1 << 6,
  type: 1 << 5,
} as const
const texts = ['contentType', 'correlationId', 'expiration', 'messageId', 'type'] as const

type Headers = Readonly<Record<string, unknown>>

/** At least as many bytes as `writePublish` writes. A text has at most three bytes for each of its units. */
export function boundOf({ exchange, routingKey }: Target, { content, options }: WireMessage, frameMax: number): number {
  let bytes = 64 + 3 * (exchange.length + routingKey.length)
  for (const name of texts) bytes += 1 + 3 * ((options[name] as string | undefined)?.length ?? 0)
  bytes += tableBound((options.headers ?? {}) as Headers) + valueBound(options.CC ?? '')
  return bytes + content.byteLength + frameBytes * Math.ceil(content.byteLength / (frameMax - frameBytes))
}

/** The frames of one `basic.publish`, from `start` on; returns where they end. */
export function writePublish(
  buffer: Buffer,
  start: number,
  publish: { readonly channel: number; readonly frameMax: number; readonly target: Target; readonly message: WireMessage },
): number {
  const { channel, frameMax, target, message } = publish
  let at = writeMethod(buffer, start, channel, target, message.options.mandatory === true)
  at = writeHeader(buffer, at, channel, message)
  const { content } = message
  const most = frameMax - frameBytes
  for (let from = 0; from < content.byteLength; from += most) {
    const to = Math.min(content.byteLength, from + most)
    buffer[at] = frameBody
    at = buffer.writeUInt16BE(channel, at + 1)
    at = buffer.writeUInt32BE(to - from, at)
    at += content.copy(buffer, at, from, to)
    buffer[at] = frameEnd
    at += 1
  }
  return at
}

function writeMethod(buffer: Buffer, start: number, channel: number, { exchange, routingKey }: Target, mandatory: boolean): number {
  let at = begin(buffer, start, frameMethod, channel)
  at = buffer.writeUInt16BE(classId, at)
  at = buffer.writeUInt16BE(methodId, at)
  at = buffer.writeUInt16BE(0, at)
  at = writeShort(buffer, at, exchange)
  at = writeShort(buffer, at, routingKey)
  buffer[at] = mandatory ? 1 : 0
  return finish(buffer, start, at + 1)
}

function writeHeader(buffer: Buffer, start: number, channel: number, { content, options }: WireMessage): number {
  const { contentType, persistent, correlationId, expiration, messageId, timestamp, type } = options
  let at = begin(buffer, start, frameHeader, channel)
  at = buffer.writeUInt16BE(classId, at)
  at = buffer.writeUInt16BE(0, at)
  at = writeLong(buffer, at, content.byteLength)
  const flagsAt = at
  at += 2
  let flags = flag.headers | flag.deliveryMode
  const text = (bit: number, value: string | undefined): void => {
    if (value === undefined) return
    flags |= bit
    at = writeShort(buffer, at, value)
  }
  text(flag.contentType, contentType)
  at = writeTable(buffer, at, (options.headers ?? {}) as Headers, options.CC)
  buffer[at] = persistent === true ? 2 : 1
  at += 1
  text(flag.correlationId, correlationId)
  text(flag.expiration, expiration as string | undefined)
  text(flag.messageId, messageId)
  if (timestamp !== undefined) {
    flags |= flag.timestamp
    at = writeLong(buffer, at, timestamp)
  }
  text(flag.type, type)
  buffer.writeUInt16BE(flags, flagsAt)
  return finish(buffer, start, at)
}

function begin(buffer: Buffer, at: number, type: number, channel: number): number {
  buffer[at] = type
  return buffer.writeUInt16BE(channel, at + 1) + 4
}

/** The size is known now. */
function finish(buffer: Buffer, start: number, at: number): number {
  buffer.writeUInt32BE(at - start - 7, start + 3)
  buffer[at] = frameEnd
  return at + 1
}

function writeShort(buffer: Buffer, at: number, text: string): number {
  const bytes = buffer.write(text, at + 1)
  if (bytes > 255) throw new RangeError(`a name or property has ${bytes} bytes, more than 255`)
  buffer[at] = bytes
  return at + 1 + bytes
}

function writeLong(buffer: Buffer, at: number, value: number): number {
  const high = Math.floor(value / 2 ** 32)
  return buffer.writeUInt32BE(value - high * 2 ** 32, buffer.writeInt32BE(high, at))
}

function writeTable(buffer: Buffer, start: number, table: Headers, copies?: string | string[]): number {
  let at = start + 4
  for (const name in table) if (table[name] !== undefined) at = writeValue(buffer, writeShort(buffer, at, name), table[name])
  if (copies !== undefined) at = writeValue(buffer, writeShort(buffer, at, 'CC'), [copies].flat())
  buffer.writeUInt32BE(at - start - 4, start)
  return at
}

function writeValue(buffer: Buffer, at: number, value: unknown): number {
  if (typeof value === 'string') {
    buffer[at] = 0x53 // S
    const bytes = buffer.write(value, at + 5)
    return buffer.writeUInt32BE(bytes, at + 1) + bytes
  }
  if (typeof value === 'number') {
    const whole = Number.isSafeInteger(value)
    buffer[at] = whole ? 0x6c : 0x64 // l, d
    return whole ? writeLong(buffer, at + 1, value) : buffer.writeDoubleBE(value, at + 1)
  }
  if (Array.isArray(value)) {
    buffer[at] = 0x41 // A
    let end = at + 5
    for (const each of value) end = writeValue(buffer, end, each)
    buffer.writeUInt32BE(end - at - 5, at + 1)
    return end
  }
  if (typeof value !== 'object' || value === null) throw new TypeError(`a header cannot be ${value === null ? 'null' : typeof value}`)
  buffer[at] = 0x46 // F
  return writeTable(buffer, at + 1, value as Headers)
}

function tableBound(table: Headers): number {
  let bytes = 4
  for (const name in table) bytes += 1 + 3 * name.length + valueBound(table[name])
  return bytes
}

function valueBound(value: unknown): number {
  if (typeof value === 'string') return 9 + 3 * value.length
  if (Array.isArray(value)) return value.reduce((sum: number, each: unknown) => sum + valueBound(each), 9)
  return typeof value === 'object' && value !== null ? 9 + tableBound(value as Headers) : 9
}
