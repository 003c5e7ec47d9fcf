import { z } from 'zod'
import { createBroker } from '../broker.ts'
import type { DeadLetter, QueueDriver } from '../driver.ts'
import { defineMessage } from '../message.ts'
import { wrong } from '../validation.ts'
import type { Call, Output } from './main.ts'

export async function deadLetterCommand(command: string, call: Call, { out, err }: Output): Promise<number> {
  await using broker = createBroker({ driver: await driverOf(call), service: 'platform-queue', deadLetterTimeoutMs: 120_000 })
  const message = defineMessage(call.name, { version: call.version, schema: z.unknown() })
  const dead = broker.deadLetters(message, call.group)
  const line = ({ body, ...rest }: DeadLetter, withBody: boolean): string => `${JSON.stringify(withBody ? { ...rest, body } : rest)}\n`
  if (command === 'dlq list') {
    for (const letter of await dead.list({ limit: call.limit })) out(line(letter, false))
    return 0
  }
  if (command === 'dlq show') {
    const letter = (await dead.list({ limit: 10_000 })).find(({ id }) => id === call.id)
    if (letter === undefined) err('there is no such dead letter\n')
    else out(line(letter, true))
    return letter === undefined ? 1 : 0
  }
  const verb = command === 'dlq replay' ? 'replay' : 'discard'
  if (!call.all) {
    await dead[verb](call.id as string)
    out(`1 ${verb === 'replay' ? 'replayed' : 'discarded'}\n`)
    return 0
  }
  const { limit, perSecond, maxReplays } = call
  const { done, skipped } = await (verb === 'replay' ? dead.replayAll({ limit, perSecond, maxReplays }) : dead.discardAll({ limit }))
  out(`${done} ${verb === 'replay' ? 'replayed' : 'discarded'}, ${skipped} left alone\n`)
  return 0
}

/** The vendor's client is loaded only where it is needed. */
async function driverOf({ url, schema, prefix }: Call): Promise<QueueDriver> {
  if (/^amqps?:/.test(url)) return (await import('../drivers/rabbitmq.ts')).rabbitmq({ urls: [url] })
  if (/^postgres(ql)?:/.test(url)) return (await import('../drivers/postgres.ts')).postgres({ url, schema })
  if (/^rediss?:/.test(url)) return (await import('../drivers/redis.ts')).redis({ url, prefix })
  throw wrong('--url: amqp://…, amqps://…, postgres://…, redis://… or rediss://…')
}
