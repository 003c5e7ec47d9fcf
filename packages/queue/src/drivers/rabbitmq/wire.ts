import type { Message, MessageProperties, Options } from 'amqplib'
import { headersFault, isIdentifier, parseEnvelope, type Envelope } from '../../envelope.ts'

/** Our own facts, in names that no message of a user's can have: his headers of such a name travel in a table of their own. */
const prefix = 'x-platform-'
const wrapped = `${prefix}headers`
/** `x-` is the broker's and ours; `CC` and `BCC` are orders to the broker. */
const reserved = /^(x-|cc$|bcc$)/i

export interface Facts {
  /** Tries before this copy that failed, or ended their process while the message ran alone. */
  counted?: number
  /** Tries before this copy that began, as far as anybody knows. */
  shown?: number
  reason?: string
  deadAt?: number
  /** How often it was replayed. */
  replays?: number
}

export interface WireMessage {
  readonly content: Buffer
  readonly options: Options.Publish
}

export function toWire(envelope: Envelope, facts: Facts = {}): WireMessage {
  const headers: Record<string, unknown> = {}
  let apart: Record<string, unknown> | undefined
  for (const name of Object.keys(envelope.headers)) {
    if (reserved.test(name)) (apart ??= {})[name] = envelope.headers[name]
    else headers[name] = envelope.headers[name]
  }
  if (apart !== undefined) headers[wrapped] = apart
  headers[`${prefix}version`] = envelope.version
  headers[`${prefix}published-at`] = envelope.publishedAt
  if (envelope.key !== undefined) headers[`${prefix}key`] = envelope.key
  return {
    content: Buffer.from(envelope.body),
    options: {
      persistent: true,
      contentType: 'application/json',
      messageId: envelope.id,
      type: envelope.name,
      timestamp: Math.max(0, Math.floor(envelope.publishedAt / 1000)),
      headers: Object.assign(headers, factHeaders(facts)),
    },
  }
}

/** A copy for another queue. The broker's own traces are left out: it takes a copied `x-death` for a cycle and drops the message. */
export function copyOf(message: Message, facts: Facts): WireMessage {
  const envelope = fromWire(message)
  if (envelope !== undefined) return toWire(envelope, facts)
  const { contentType, messageId, type } = message.properties as Partial<MessageProperties>
  return {
    content: message.content,
    options: {
      persistent: true,
      ...(isIdentifier(contentType) ? { contentType } : {}),
      ...(isIdentifier(messageId) ? { messageId } : {}),
      ...(isIdentifier(type) ? { type } : {}),
      headers: factHeaders(facts),
    },
  }
}

export function fromWire(message: Message): Envelope | undefined {
  const { messageId, type } = message.properties as Partial<MessageProperties>
  const headers = headersOf(message)
  const apart = headers[wrapped]
  return parseEnvelope({
    id: messageId,
    name: type,
    version: header(headers, 'version'),
    key: header(headers, 'key'),
    publishedAt: header(headers, 'published-at'),
    headers: textsOf(headers, typeof apart === 'object' && apart !== null ? (apart as Record<string, unknown>) : {}),
    body: message.content.toString(),
  })
}

export function factsOf(message: Message): Required<Facts> {
  const headers = headersOf(message)
  const count = (name: string): number => {
    const value = header(headers, name)
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0
  }
  const reason = header(headers, 'reason')
  return {
    counted: count('counted'),
    shown: count('shown'),
    reason: typeof reason === 'string' ? reason.slice(0, 1_000) : brokerReason(headers),
    deadAt: Math.min(count('dead-at'), 8.64e15),
    replays: count('replays'),
  }
}

/** How often the broker has handed this copy out before. Classic queues only know whether. */
export function earlierDeliveries(message: Message): number {
  const count: unknown = headersOf(message)['x-delivery-count']
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0) return count
  return message.fields.redelivered ? 1 : 0
}

/** Orders to the member that is at work in an ordered group. They travel in the group's own queue, so that they reach it and take their place. */
export type Control = { readonly op: 'release' | 'replay'; readonly key: string; readonly id: string }

const controlHeader = `${prefix}control`

/** A replay carries its dead letter along. */
export function controlToWire(control: Control, letter?: WireMessage): WireMessage {
  const base = letter ?? { content: Buffer.alloc(0), options: { persistent: true } }
  return {
    content: base.content,
    options: { ...base.options, headers: { ...(base.options.headers as object), [controlHeader]: JSON.stringify(control) } },
  }
}

/** `invalid` when it claims to be an order and is none. */
export function controlFromWire(message: Message): Control | 'invalid' | undefined {
  const text = headersOf(message)[controlHeader]
  if (text === undefined) return undefined
  try {
    const { op, key, id } = JSON.parse(text as string) as Partial<Record<keyof Control, unknown>>
    if ((op === 'release' || op === 'replay') && isIdentifier(key) && isIdentifier(id)) return { op, key, id }
  } catch {
    // Not ours.
  }
  return 'invalid'
}

function headersOf(message: Message): Record<string, unknown> {
  const headers: unknown = message.properties.headers
  return typeof headers === 'object' && headers !== null ? (headers as Record<string, unknown>) : {}
}

function header(headers: Record<string, unknown>, name: string): unknown {
  return headers[prefix + name]
}

/** Foreign headers of other kinds are left out; they say nothing to a handler of ours. */
function textsOf(headers: Record<string, unknown>, apart: Record<string, unknown>): Record<string, string> {
  const texts: Record<string, string> = {}
  const take = (from: Record<string, unknown>, wanted: boolean): void => {
    for (const name of Object.keys(from)) {
      const value = from[name]
      if (reserved.test(name) === wanted && typeof value === 'string' && headersFault({ [name]: value }) === undefined) texts[name] = value
    }
  }
  take(headers, false)
  take(apart, true)
  return texts
}

/** Why the broker itself took a message out of its queue. */
function brokerReason(headers: Record<string, unknown>): string {
  const reason = headers['x-first-death-reason']
  return typeof reason === 'string' ? `the broker gave up: ${reason.slice(0, 100)}` : ''
}

function factHeaders(facts: Facts): Record<string, unknown> {
  const names = { counted: 'counted', shown: 'shown', reason: 'reason', deadAt: 'dead-at', replays: 'replays' } as const
  return Object.fromEntries(
    Object.entries(facts).flatMap(([fact, value]) =>
      value === undefined ? [] : [[prefix + names[fact as keyof Facts], value as unknown]],
    ),
  )
}
