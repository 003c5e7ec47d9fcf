import type { Server } from 'node:net'
import { ServiceError } from './errors.ts'

/** Resolves when the server listens. A taken port is told apart from everything else; an abort leaves nothing listening. */
export function listen(server: Server, where: { port: number; host: string | undefined }, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const finish = (settle: () => void) => {
      server.removeListener('error', failed)
      server.removeListener('listening', listening)
      signal?.removeEventListener('abort', aborted)
      settle()
    }
    const listening = () => finish(resolve)
    const aborted = () =>
      finish(() => {
        server.close()
        reject(signal?.reason)
      })
    const failed = (error: NodeJS.ErrnoException) =>
      finish(() => {
        if (error.code !== 'EADDRINUSE') return reject(error)
        const message = `port ${where.port} on ${where.host ?? 'all addresses'} is taken by another program`
        reject(new ServiceError('ERR_SERVICE_PORT_TAKEN', message, { cause: error, port: where.port }))
      })
    server.on('error', failed)
    server.on('listening', listening)
    signal?.addEventListener('abort', aborted)
    server.listen(where.host === undefined ? { port: where.port } : { port: where.port, host: where.host })
  })
}

export function portOf(server: Server): number | undefined {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : undefined
}
