import type { Message, MessageProperties, Options } from 'amqplib'
import type { Envelope } from '../../driver.ts'

/** Our own facts beside the service's headers. */
const prefix = 'x-platform-'
const brokers = /^x-(death|first-death-|last-death-|delivery-count$|acquired-count$)/

export interface Facts {
  /** Attempts that earlier copies of the message used up. */
  attempt?: number
  reason?: string
  deadAt?: number
}

export interface WireMessage {
  readonly content: Buffer
  readonly options: Options.Publish
}

export function toWire(envelope: Envelope, facts: Facts = {}): WireMessage {
  return {
    content: Buffer.from(envelope.body),
    options: {
      persistent: true,
      contentType: 'application/json',
      messageId: envelope.id,
      type: envelope.name,
      timestamp: Math.floor(envelope.publishedAt / 1000),
      headers: {
        ...envelope.headers,
        [`${prefix}version`]: envelope.version,
        [`${prefix}published-at`]: envelope.publishedAt,
        ...(envelope.key === undefined ? {} : { [`${prefix}key`]: envelope.key }),
        ...factHeaders(facts),
      },
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
      ...(typeof contentType === 'string' ? { contentType } : {}),
      ...(typeof messageId === 'string' ? { messageId } : {}),
      ...(typeof type === 'string' ? { type } : {}),
      headers: factHeaders(facts),
    },
  }
}

export function fromWire(message: Message): Envelope | undefined {
  const { messageId, type, headers = {} } = message.properties as Partial<MessageProperties>
  const version = header(headers, 'version')
  const publishedAt = header(headers, 'published-at')
  if (typeof messageId !== 'string' || typeof type !== 'string' || typeof version !== 'number' || typeof publishedAt !== 'number') {
    return undefined
  }
  const own = Object.entries(headers).filter(
    ([name, value]) => typeof value === 'string' && !name.startsWith(prefix) && !brokers.test(name),
  )
  const key = header(headers, 'key')
  return {
    id: messageId,
    name: type,
    version,
    ...(typeof key === 'string' ? { key } : {}),
    headers: Object.fromEntries(own) as Record<string, string>,
    publishedAt,
    body: message.content.toString(),
  }
}

export function factsOf(message: Message): Required<Facts> {
  const headers = message.properties.headers ?? {}
  const attempt = header(headers, 'attempt')
  const reason = header(headers, 'reason')
  const deadAt = header(headers, 'dead-at')
  return {
    attempt: typeof attempt === 'number' ? attempt : 0,
    reason: typeof reason === 'string' ? reason : '',
    deadAt: typeof deadAt === 'number' ? deadAt : 0,
  }
}

/** How often the broker has handed this copy out before. Classic queues only know whether. */
export function earlierDeliveries(message: Message): number {
  const count: unknown = message.properties.headers?.['x-delivery-count']
  if (typeof count === 'number') return count
  return message.fields.redelivered ? 1 : 0
}

/** Orders to the member that is at work in an ordered group; they travel in the group's own queue, so that they reach it. */
export interface Control {
  readonly op: 'release' | 'replay'
  readonly key: string
  readonly id: string
}

const controlType = 'platform.control'

export function controlToWire(control: Control): WireMessage {
  return { content: Buffer.from(JSON.stringify(control)), options: { persistent: true, type: controlType } }
}

export function controlFromWire(message: Message): Control | undefined {
  if (message.properties.type !== controlType) return undefined
  return JSON.parse(message.content.toString()) as Control
}

function header(headers: Record<string, unknown>, name: string): unknown {
  return headers[prefix + name]
}

function factHeaders({ attempt, reason, deadAt }: Facts): Record<string, unknown> {
  return {
    ...(attempt === undefined ? {} : { [`${prefix}attempt`]: attempt }),
    ...(reason === undefined ? {} : { [`${prefix}reason`]: reason }),
    ...(deadAt === undefined ? {} : { [`${prefix}dead-at`]: deadAt }),
  }
}
