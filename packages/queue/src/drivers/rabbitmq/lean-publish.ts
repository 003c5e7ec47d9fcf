import type { ConfirmChannel } from 'amqplib'
import type { Target, WireMessage } from './wire.ts'

type Confirmed = (error: unknown) => void

/** What the client has below its `publish`, in every version that is supported, and does not document. */
interface Below {
  pushConfirmCallback(confirmed: Confirmed): void
  sendMessage(method: object, properties: object, content: Buffer): boolean
}

/**
 * As `channel.publish`, which makes the headers of every message the prototype of another object: the engine then makes a hidden class for each
 * message and throws optimised code away, which costs more than all the rest of a publish. False when the socket is full.
 */
export function leanPublish(
  channel: ConfirmChannel,
  { exchange, routingKey }: Target,
  { content, options }: WireMessage,
  confirmed: Confirmed,
): boolean {
  const below = channel as unknown as Partial<Below>
  if (typeof below.pushConfirmCallback !== 'function' || typeof below.sendMessage !== 'function') {
    return channel.publish(exchange, routingKey, content, options, confirmed)
  }
  const headers = (options.headers ?? {}) as Record<string, unknown>
  const fields = {
    exchange,
    routingKey,
    mandatory: options.mandatory === true,
    immediate: false,
    ticket: undefined,
    contentType: options.contentType,
    contentEncoding: undefined,
    headers: options.CC === undefined ? headers : { ...headers, CC: [options.CC].flat() },
    deliveryMode: options.persistent === true ? 2 : 1,
    priority: undefined,
    correlationId: options.correlationId,
    replyTo: undefined,
    expiration: undefined,
    messageId: options.messageId,
    timestamp: options.timestamp,
    type: options.type,
    userId: undefined,
    appId: undefined,
    clusterId: undefined,
  }
  below.pushConfirmCallback(confirmed)
  return below.sendMessage(fields, fields, content)
}
