import { createServer } from 'node:net'
import { freePort } from '@platform/stack'

/** The same at every start, below the range that the kernel draws from, so that a bookmark and a client's settings stay right. */
const preferred: Readonly<Record<string, number>> = {
  'catalog-api 1': 4101,
  'catalog-api 2': 4102,
  'orders-api 1': 4111,
  'orders-api 2': 4112,
  'catalog-api 1 admin': 4181,
  'catalog-api 2 admin': 4182,
  'orders-api 1 admin': 4191,
  'orders-api 2 admin': 4192,
  'fulfilment-worker 1 admin': 4195,
  'gateway 1': 4100,
  'gateway 1 admin': 4180,
  'identity-api 1': 4120,
  'identity-api 1 admin': 4186,
  postgres: 4154,
  redis: 4163,
  rabbitmq: 4156,
  consul: 4185,
}

/** Another one where the usual one is taken: a second store beside the first. */
export function stablePorts(say: (line: string) => void): (user: string) => Promise<number> {
  return async (user) => {
    const port = preferred[user]
    if (port !== undefined && (await isFree(port))) return port
    const other = await freePort()
    say(`port ${port} of ${user} is taken; ${other} instead`)
    return other
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
