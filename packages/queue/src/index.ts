export { createBroker } from './broker.ts'
export { QueueError } from './errors.ts'
export { createInbox, inboxSchema } from './inbox.ts'
export { defineMessage } from './message.ts'
export { noopBroker } from './noop.ts'
export { createOutbox, outboxSchema } from './outbox.ts'
export { PermanentFailure } from './retry.ts'

export type { Broker, PublishOptions } from './broker.ts'
export type { Consumer, ConsumerStats } from './consumer.ts'
export type { BulkOptions, BulkResult, DeadLetters } from './dead-letters.ts'
export type {
  DeadLetter,
  DeadLetterStore,
  DriverContext,
  DriverSession,
  DriverSubscription,
  Envelope,
  ExpiredGroup,
  Lease,
  PublishRequest,
  QueueDriver,
  Receive,
  Subscription,
} from './driver.ts'
export type { QueueErrorCode } from './errors.ts'
export type {
  BatchHandler,
  BatchOptions,
  Handler,
  HandlerContext,
  InboxBatchHandler,
  InboxContext,
  InboxHandler,
  Subscribe,
} from './handler.ts'
export type { Inbox, InboxOptions } from './inbox.ts'
export type { Delivery, Message, MessageOptions, OutgoingMessage } from './message.ts'
export type { BrokerOptions, ConsumeOptions, ConsumerOptions } from './options.ts'
export type { Outbox, OutboxAddOptions, OutboxOptions } from './outbox.ts'
export type { SendOptions } from './publisher.ts'
export type { RetryOptions } from './retry.ts'
export type { Cancellable, Credential, Database, InboundHook, LoggerLike, OutboundHook, SecretLike, TransactionLike } from './shapes.ts'
