import type { Subscription } from '../../driver.ts'
import { replyCode, typed } from './faults.ts'
import type { Link } from './link.ts'
import { conflictOf, exchangeName, queuesOf, returnExchange } from './topology.ts'

export interface Step {
  readonly what: 'exchange' | 'queue'
  readonly name: string
  readonly state: 'present' | 'missing' | 'differs'
  /** The argument, the value it should have, and the one it has. */
  readonly detail?: string
}

/** What a subscription stands on, beside what is there. Each question has a channel of its own, so that a refusal disturbs nothing else. */
export async function planOf(link: Link, subscription: Subscription, signal: AbortSignal): Promise<Step[]> {
  const steps: Step[] = []
  for (const name of [returnExchange, exchangeName(subscription.destination)]) {
    const there = await exists(() => link.withChannel((channel) => channel.checkExchange(name), signal))
    steps.push({ what: 'exchange', name, state: there ? 'present' : 'missing' })
  }
  for (const { name, options } of queuesOf(subscription)) {
    if (!(await exists(() => link.withChannel((channel) => channel.checkQueue(name), signal)))) {
      steps.push({ what: 'queue', name, state: 'missing' })
      continue
    }
    try {
      // Declaring what is there as it is changes nothing.
      await link.withChannel((channel) => channel.assertQueue(name, options), signal)
      steps.push({ what: 'queue', name, state: 'present' })
    } catch (error) {
      if (replyCode(error) !== 406) throw typed(error, { destination: subscription.destination })
      steps.push({ what: 'queue', name, state: 'differs', detail: conflictOf(error) })
    }
  }
  return steps
}

async function exists(look: () => Promise<unknown>): Promise<boolean> {
  try {
    await look()
    return true
  } catch (error) {
    if (replyCode(error) === 404) return false
    throw typed(error)
  }
}

interface Definitions {
  readonly exchanges: readonly object[]
  readonly queues: readonly object[]
  readonly bindings: readonly object[]
}

/** What RabbitMQ's `load_definitions` reads. Arguments of the default virtual host. */
export function definitionsOf(subscription: Subscription): Definitions {
  const vhost = '/'
  const destination = exchangeName(subscription.destination)
  const exchange = (name: string, type: string, args: object = {}): object => ({
    name,
    vhost,
    type,
    durable: true,
    auto_delete: false,
    internal: false,
    arguments: args,
  })
  const lost = 'platform/lost'
  const lostArguments = { 'x-queue-type': 'quorum', 'x-max-length': 10_000, 'x-overflow': 'drop-head' }
  const binding = (source: string, to: string, type: 'queue' | 'exchange', key: string): object => ({
    source,
    vhost,
    destination: to,
    destination_type: type,
    routing_key: key,
    arguments: {},
  })
  const queue = (name: string, args: unknown): object => ({ name, vhost, durable: true, auto_delete: false, arguments: args })
  const queues = queuesOf(subscription)
  return {
    exchanges: [
      exchange(lost, 'fanout'),
      exchange(returnExchange, 'direct', { 'alternate-exchange': lost }),
      exchange(destination, 'fanout'),
    ],
    queues: [queue(lost, lostArguments), ...queues.map(({ name, options }) => queue(name, options.arguments))],
    bindings: [
      binding(lost, lost, 'queue', ''),
      binding(returnExchange, destination, 'exchange', destination),
      ...queues.flatMap(({ name, bindings = [] }) => bindings.map((each) => binding(each.exchange, name, 'queue', each.routingKey))),
    ],
  }
}
