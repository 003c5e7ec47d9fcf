import { createServer } from 'node:net'

/**
 * Drawn at random below 22,768: outgoing connections of a Linux kernel start at 32,768, so none can take a port between the draw and the
 * server's start, and `port + 10000` (RabbitMQ's management listener) is outside their range as well.
 */
const lowest = 10_240
const highest = 22_767

/** A loopback port that nobody listens on, nor on any port at one of the `offsets` from it. */
export async function freePort(offsets: number[] = []): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest + 1))
    const wanted = [port, ...offsets.map((offset) => port + offset)]
    const free = await Promise.all(wanted.map(isFree))
    if (!free.includes(false)) return port
  }
  throw new Error(`found no free port between ${lowest} and ${highest}`)
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
