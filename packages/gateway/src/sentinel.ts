import { createServer, type Server } from 'node:http'
import { sentinelBody } from './compile/problems.ts'

/**
 * Stands in the name server's answer for a service without instances: an empty answer would empty the group, and nginx would keep that for ten
 * seconds. Says 503, as the sentinel in nginx does.
 */
export class Sentinel {
  readonly #server: Server = createServer((request, response) => {
    request.resume()
    response
      .writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '1', 'cache-control': 'no-store' })
      .end(sentinelBody)
  })

  /** Resolves with the port. */
  async listen(): Promise<number> {
    await new Promise<void>((resolve, reject) => void this.#server.once('error', reject).listen(0, '127.0.0.1', resolve))
    return (this.#server.address() as { port: number }).port
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise((resolve) => void this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }
}
