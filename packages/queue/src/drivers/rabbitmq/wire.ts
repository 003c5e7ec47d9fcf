import type { Message, MessageProperties, Options } from 'amqplib'
import { headersFault, isIdentifier, parseEnvelope, type Envelope } from '../../envelope.ts'

/** Our own facts, in names that no message of a user's can have: his headers of such a name travel in a table of their own. */
const names = {
  version: 'x-platform-version',
  publishedAt: 'x-platform-published-at',
  key: 'x-platform-key',
  headers: 'x-platform-headers',
  control: 'x-platform-control',
  counted: 'x-platform-counted',
  shown: 'x-platform-shown',
  reason: 'x-platform-reason',
  deadAt: 'x-platform-dead-at',
  replays: 'x-platform-replays',
} as const
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

export interface Target {
  readonly exchange: string
  readonly routingKey: string
}

export interface WireMessage {
  readonly content: Buffer
  /** `mandatory` and `correlationId` are set when it is sent. */
  readonly options: Options.Publish
}

export function toWire(envelope: Envelope, facts?: Facts): WireMessage {
  const { id, name, version, key, publishedAt, body } = envelope
  const headers: Record<string, unknown> = { [names.version]: version, [names.publishedAt]: publishedAt }
  if (key !== undefined) headers[names.key] = key
  let apart: Record<string, unknown> | undefined
  for (const header of Object.keys(envelope.headers)) {
    if (reserved.test(header)) (apart ??= {})[header] = envelope.headers[header]
    else headers[header] = envelope.headers[header]
  }
  if (apart !== undefined) headers[names.headers] = apart
  if (facts !== undefined) addFacts(headers, facts)
  return {
    content: Buffer.from(body),
    options: {
      persistent: true,
      contentType: 'application/json',
      messageId: id,
      type: name,
      timestamp: Math.max(0, Math.floor(publishedAt / 1000)),
      headers,
      mandatory: true,
      correlationId: '',
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
      headers: addFacts({}, facts),
    },
  }
}

export function fromWire(message: Message): Envelope | undefined {
  const { messageId, type } = message.properties as Partial<MessageProperties>
  const headers = headersOf(message)
  return parseEnvelope({
    id: messageId,
    name: type,
    version: headers[names.version],
    key: headers[names.key],
    publishedAt: headers[names.publishedAt],
    headers: textsOf(headers),
    body: message.content.toString(),
  })
}

export function factsOf(message: Message): Required<Facts> {
  const headers = headersOf(message)
  const reason = headers[names.reason]
  return {
    counted: countOf(headers[names.counted]),
    shown: countOf(headers[names.shown]),
    reason: typeof reason === 'string' ? reason.slice(0, 1_000) : brokerReason(headers),
    deadAt: Math.min(countOf(headers[names.deadAt]), 8.64e15),
    replays: countOf(headers[names.replays]),
  }
}

/** What is none says nothing. */
function countOf(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0
}

/** Empty when it has none. */
export function idOf({ properties }: Message): string {
  const id: unknown = properties.messageId
  return typeof id === 'string' ? id : ''
}

/** How often the broker has handed this copy out before. Classic queues only know whether. */
export function earlierDeliveries(message: Message): number {
  const count: unknown = headersOf(message)['x-delivery-count']
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0) return count
  return message.fields.redelivered ? 1 : 0
}

/** Orders to the member that is at work in an ordered group. They travel in the group's own queue, so that they reach it and take their place. */
export type Control = { readonly op: 'release' | 'replay'; readonly key: string; readonly id: string }

/** A replay carries its dead letter along. */
export function controlToWire(control: Control, letter?: WireMessage): WireMessage {
  const base = letter ?? { content: Buffer.alloc(0), options: { persistent: true } }
  return {
    content: base.content,
    options: { ...base.options, headers: { ...(base.options.headers as object), [names.control]: JSON.stringify(control) } },
  }
}

/** `invalid` when it claims to be an order and is none. */
export function controlFromWire(message: Message): Control | 'invalid' | undefined {
  const text = headersOf(message)[names.control]
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

/** Foreign headers of other kinds are left out; they say nothing to a handler of ours. */
function textsOf(headers: Record<string, unknown>): Record<string, string> {
  const texts: Record<string, string> = {}
  const take = (from: Record<string, unknown>, wanted: boolean): void => {
    for (const name of Object.keys(from)) {
      const value = from[name]
      if (typeof value === 'string' && reserved.test(name) === wanted && headersFault({ [name]: value }) === undefined) texts[name] = value
    }
  }
  take(headers, false)
  const apart = headers[names.headers]
  if (typeof apart === 'object' && apart !== null) take(apart as Record<string, unknown>, true)
  return texts
}

/** Why the broker itself took a message out of its queue. */
function brokerReason(headers: Record<string, unknown>): string {
  const reason = headers['x-first-death-reason']
  return typeof reason === 'string' ? `the broker gave up: ${reason.slice(0, 100)}` : ''
}

function addFacts(headers: Record<string, unknown>, { counted, shown, reason, deadAt, replays }: Facts): Record<string, unknown> {
  if (counted !== undefined) headers[names.counted] = counted
  if (shown !== undefined) headers[names.shown] = shown
  if (reason !== undefined) headers[names.reason] = reason
  if (deadAt !== undefined) headers[names.deadAt] = deadAt
  if (replays !== undefined) headers[names.replays] = replays
  return headers
}
