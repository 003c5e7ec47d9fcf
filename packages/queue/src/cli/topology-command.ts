import type { Subscription } from '../driver.ts'
import { silentLogger } from '../shapes.ts'
import { namePattern, wrong } from '../validation.ts'
import type { Call, Output } from './main.ts'

export async function topologyCommand(command: string, call: Call, { out, err }: Output): Promise<number> {
  if (!namePattern.test(call.name) || !namePattern.test(call.group)) throw wrong('--message and --group: 1 to 100 of A-Z a-z 0-9 . _ -')
  const subscription: Subscription = {
    destination: `${call.name}.v${call.version}`,
    group: call.group,
    broadcast: false,
    ordered: call.ordered,
    concurrency: 1,
    prefetch: 1,
  }
  const { definitionsOf, planOf } = await import('../drivers/rabbitmq/plan.ts')
  if (command === 'topology definitions') {
    out(`${JSON.stringify(definitionsOf(subscription), undefined, 2)}\n`)
    return 0
  }
  const [{ Link }, { resolveRabbitmqOptions }, { declareSubscription }] = await Promise.all([
    import('../drivers/rabbitmq/link.ts'),
    import('../drivers/rabbitmq/options.ts'),
    import('../drivers/rabbitmq/topology.ts'),
  ])
  const link = new Link(resolveRabbitmqOptions({ urls: [call.url] }), 'platform-queue', silentLogger)
  const signal = AbortSignal.timeout(30_000)
  try {
    const steps = await planOf(link, subscription, signal)
    for (const { what, name, state, detail } of steps)
      out(`${state.padEnd(8)} ${what} ${name}${detail === undefined ? '' : `: ${detail}`}\n`)
    const conflict = steps.some(({ state }) => state === 'differs')
    if (command === 'topology plan') return conflict || steps.some(({ state }) => state === 'missing') ? 1 : 0
    if (conflict) {
      err('nothing was changed: what differs has to be emptied and deleted, or given another name, first\n')
      return 1
    }
    await declareSubscription(link, subscription, signal)
    return 0
  } finally {
    await link.close()
  }
}
