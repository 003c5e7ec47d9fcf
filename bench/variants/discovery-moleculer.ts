import { ServiceBroker } from 'moleculer'

const CALLER = 'caller'

/**
 * Five nodes of a moleculer cluster and one that calls them, with the strategy and with moleculer's own circuit breaker. `answer` is what a node
 * does; callers give up after `patienceMs`.
 */
export async function moleculerCaller(
  strategy: string,
  nodes: number,
  answer: (node: number) => Promise<string>,
  patienceMs: number,
): Promise<() => Promise<boolean>> {
  const common = { transporter: 'Fake', logger: false } as const
  const members = Array.from({ length: nodes }, (_, node) => {
    const broker = new ServiceBroker({ ...common, nodeID: `node-${node}` })
    broker.createService({ name: 'shop', actions: { get: () => answer(node) } })
    return broker
  })
  const caller = new ServiceBroker({
    ...common,
    nodeID: CALLER,
    requestTimeout: patienceMs,
    circuitBreaker: { enabled: true },
    registry: { strategy, preferLocal: false },
  })
  await Promise.all([...members, caller].map((broker) => broker.start()))
  await caller.waitForServices('shop')
  return async () => (await caller.call('shop.get')) === 'ok'
}
