import type { Broker } from './broker.ts'
import type { Consumer } from './consumer.ts'
import { encode } from './message.ts'
import { silentLogger } from './shapes.ts'
import { uuidv7 } from './uuid.ts'

const nothing = async (): Promise<void> => {}
const none = async (): Promise<{ done: number; skipped: number }> => ({ done: 0, skipped: 0 })

const noopConsumer: Consumer = {
  stats: () => ({ inFlight: 0, processed: 0, retried: 0, deadLettered: 0, duplicates: 0 }),
  ready: nothing,
  check: nothing,
  quiesce: nothing,
  drain: nothing,
  close: nothing,
  [Symbol.asyncDispose]: nothing,
}

/** Accepts everything, delivers nothing. */
export const noopBroker: Broker = {
  publish: async (_message, _body, options) => ({ id: options?.id ?? uuidv7() }),
  consumer: () => noopConsumer,
  consume: async () => noopConsumer,
  deadLetters: () => ({
    count: async () => 0,
    list: async () => [],
    replay: nothing,
    discard: nothing,
    replayAll: none,
    discardAll: none,
    release: nothing,
  }),
  deleteGroup: async () => false,
  prepare: async (message, body, options) => encode(message, body, {}, options?.id),
  send: nothing,
  logger: silentLogger,
  stats: () => ({ pendingPublishes: 0, consumers: 0 }),
  ready: nothing,
  check: nothing,
  quiesce: nothing,
  drain: nothing,
  close: nothing,
  [Symbol.asyncDispose]: nothing,
}
