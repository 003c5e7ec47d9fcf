import { choiceOption } from '@platform/kernel'
import type { Shape } from '../drivers/rabbitmq/topology.ts'
import { silentLogger } from '../shapes.ts'
import { namePattern, refuse, wrong } from '../validation.ts'
import type { Call, Output } from './main.ts'

const timeoutMs = 30_000

export async function topologyCommand(command: string, call: Call, { out, err }: Output): Promise<number> {
  if (!namePattern.test(call.name) || !namePattern.test(call.group)) throw wrong('--message and --group: 1 to 100 of A-Z a-z 0-9 . _ -')
  const [{ reshard }, { Link }, { resolveRabbitmqOptions }, { definitionsOf, planOf }, { shardCounts }, { declareSubscription }] =
    await Promise.all([
      import('../drivers/rabbitmq/reshard.ts'),
      import('../drivers/rabbitmq/link.ts'),
      import('../drivers/rabbitmq/options.ts'),
      import('../drivers/rabbitmq/plan.ts'),
      import('../drivers/rabbitmq/shards.ts'),
      import('../drivers/rabbitmq/topology.ts'),
    ])
  const shape: Shape = {
    destination: `${call.name}.v${call.version}`,
    group: call.group,
    broadcast: false,
    ordered: call.ordered || command === 'topology reshard',
    shards: choiceOption(refuse, '--shards', call.shards ?? 1, shardCounts),
  }
  if (call.shards !== undefined && !shape.ordered) throw wrong('--shards: only with --ordered')
  if (command === 'topology definitions') {
    out(`${JSON.stringify(definitionsOf(shape), undefined, 2)}\n`)
    return 0
  }
  const link = new Link(resolveRabbitmqOptions({ urls: [call.url] }), 'platform-queue', silentLogger)
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    if (command === 'topology reshard') {
      const found = await reshard(link, shape, signal)
      out(`${found.join(', ') || 'no'} shards before, ${shape.shards} now: start members with shards: ${shape.shards}\n`)
      return 0
    }
    const steps = await planOf(link, shape, signal)
    for (const { what, name, state, detail } of steps)
      out(`${state.padEnd(8)} ${what} ${name}${detail === undefined ? '' : `: ${detail}`}\n`)
    const conflict = steps.some(({ state }) => state === 'differs')
    if (command === 'topology plan') return conflict || steps.some(({ state }) => state === 'missing') ? 1 : 0
    if (conflict) {
      err('nothing was changed: what differs has to be emptied and deleted, or given another name, first\n')
      return 1
    }
    await declareSubscription(link, shape, signal)
    return 0
  } finally {
    await link.close()
  }
}
