import { connect, createServer, type Server } from 'node:net'
import { text } from 'node:stream/consumers'

const answersWithinMs = 2_000

/**
 * Holds a store (`name`) for what changes it, so that two commands do not change it at once: rejects, naming the other, while it is held. Whoever dies lets
 * go of it. Known to Linux alone; elsewhere nothing is held.
 */
export async function holdStore(name: string, command: string): Promise<AsyncDisposable> {
  if (process.platform !== 'linux') return { [Symbol.asyncDispose]: async () => {} }
  // A name of the kernel, not of a file: it is gone with its process.
  const path = `\0film-store/${name}`
  const server = createServer((socket) => socket.on('error', () => {}).end(`${command} (process ${process.pid})`))
  try {
    await listening(server, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(`${await whoHolds(path)} is at work on ${name}: one at a time`, {
      cause: error,
    })
  }
  return { [Symbol.asyncDispose]: () => new Promise((closed) => server.close(() => closed())) }
}

/** One that was stopped, or has no time to answer, holds it all the same. */
function whoHolds(path: string): Promise<string> {
  const socket = connect({ path })
  socket.setTimeout(answersWithinMs, () => socket.destroy(new Error('no answer')))
  return text(socket).catch(() => 'another command')
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => server.once('error', reject).listen({ path }, resolve))
}
