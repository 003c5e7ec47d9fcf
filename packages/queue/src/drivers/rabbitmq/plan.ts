import type { Channel } from 'amqplib'
import { replyCode, typed } from './faults.ts'
import type { Link } from './link.ts'
import {
  conflictOf,
  destinationTopology,
  exchangeOptions,
  groupTopology,
  orMissing,
  type Binding,
  type Shape,
  type Topology,
} from './topology.ts'

export interface Step {
  readonly what: 'exchange' | 'queue'
  readonly name: string
  readonly state: 'present' | 'missing' | 'differs'
  /** The argument, the value it should have, and the one it has. */
  readonly detail?: string
}

/** What a subscription stands on, beside what is there. Each question has a channel of its own, so that a refusal disturbs nothing else. */
export async function planOf(link: Link, shape: Shape, signal: AbortSignal): Promise<Step[]> {
  const { exchanges, queues } = wholeTopology(shape)
  const steps: Step[] = []
  const see = async (what: Step['what'], name: string, check: Question, assert: Question): Promise<void> => {
    try {
      if ((await orMissing(link.withChannel(check, signal))) === undefined) return void steps.push({ what, name, state: 'missing' })
      // Declaring what is there as it is changes nothing.
      await link.withChannel(assert, signal)
      steps.push({ what, name, state: 'present' })
    } catch (error) {
      if (replyCode(error) !== 406) throw typed(error, { destination: shape.destination })
      steps.push({ what, name, state: 'differs', detail: conflictOf(error) })
    }
  }
  for (const { name, type, alternate } of exchanges) {
    await see(
      'exchange',
      name,
      (channel) => channel.checkExchange(name),
      (channel) => channel.assertExchange(name, type, exchangeOptions(alternate)),
    )
  }
  for (const { name, options } of queues) {
    await see(
      'queue',
      name,
      (channel) => channel.checkQueue(name),
      (channel) => channel.assertQueue(name, options),
    )
  }
  return steps
}

type Question = (channel: Channel) => Promise<object>

function wholeTopology(shape: Shape): Topology {
  const [common, own] = [destinationTopology(shape.destination), groupTopology(shape)]
  return { exchanges: [...common.exchanges, ...own.exchanges], queues: [...common.queues, ...own.queues] }
}

interface Definitions {
  readonly exchanges: readonly object[]
  readonly queues: readonly object[]
  readonly bindings: readonly object[]
}

/** What RabbitMQ's `load_definitions` reads, for the default virtual host. */
export function definitionsOf(shape: Shape): Definitions {
  const vhost = '/'
  const { exchanges, queues } = wholeTopology(shape)
  const bindingsTo = (type: 'queue' | 'exchange', name: string, bindings: readonly Binding[] = []): object[] =>
    bindings.map(({ from, key }) => ({
      source: from,
      vhost,
      destination: name,
      destination_type: type,
      routing_key: key,
      arguments: {},
    }))
  const both = { vhost, durable: true, auto_delete: false }
  return {
    exchanges: exchanges.map(({ name, type, alternate }) => ({
      name,
      ...both,
      type,
      internal: false,
      arguments: alternate === undefined ? {} : { 'alternate-exchange': alternate },
    })),
    queues: queues.map(({ name, options }) => ({ name, ...both, arguments: options.arguments as unknown })),
    bindings: [
      ...queues.flatMap(({ name, bindings }) => bindingsTo('queue', name, bindings)),
      ...exchanges.flatMap(({ name, bindings }) => bindingsTo('exchange', name, bindings)),
    ],
  }
}
