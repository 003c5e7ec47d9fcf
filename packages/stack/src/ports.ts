import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { StackError } from './errors.ts'

/**
 * Drawn at random below 22,768: outgoing connections of a Linux kernel start at 32,768, so none can take a port between the draw and the
 * server's start, and `port + 10000` (RabbitMQ's management listener) is outside their range as well.
 */
const lowest = 10_240
const highest = 22_767
/** Drawn lately: whoever drew one may not listen yet. */
const drawn = new Set<number>()
const remembered = 1_000

/** A loopback port that nobody listens on, nor on any port at one of the `offsets` from it; not one of the last thousand that this process drew. */
export async function freePort(offsets: number[] = []): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest + 1))
    if (drawn.has(port)) continue
    drawn.add(port)
    const [oldest] = drawn
    if (drawn.size > remembered && oldest !== undefined) drawn.delete(oldest)
    if ((await takenPort(port, offsets)) === undefined) return port
  }
  throw new StackError('ERR_STACK_SYSTEM', `found no free port between ${lowest} and ${highest}`)
}

/** The first of `port` and those at the offsets that cannot be listened on. */
export async function takenPort(port: number, offsets: number[] = []): Promise<number | undefined> {
  for (const wanted of [port, ...offsets.map((offset) => port + offset)]) {
    if (wanted > 65_535 || !(await isFree(wanted))) return wanted
  }
  return undefined
}

export function portTaken(name: string, port: number, cause?: unknown): StackError {
  return new StackError('ERR_STACK_PORT_TAKEN', `${name} cannot listen on 127.0.0.1:${port}: the port is taken`, { cause })
}

/** Whether a server that died says in its log, from this byte on, that it could not listen; whoever took the port may have left since. */
export function saysPortTaken(logFile: string, from: number): boolean {
  try {
    return /address already in use|eaddrinuse/i.test(readFileSync(logFile).subarray(from).toString())
  } catch {
    return false
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
