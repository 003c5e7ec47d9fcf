import { chmodSync, rmSync } from 'node:fs'
import { createServer, request, type Server } from 'node:http'
import { GatewayError } from './errors.ts'

export const controlSocket = (folder: string): string => `${folder}/control.sock`
const longestWaitMs = 600_000

/** On a socket that only this user may open: the command line asks the running gateway. */
export class Control {
  readonly #server: Server

  constructor(apply: (options: { probationMs: number }) => Promise<void>) {
    this.#server = createServer((incoming, response) => {
      incoming.resume()
      const [pathname, query] = (incoming.url ?? '/').split('?', 2)
      if (incoming.method !== 'POST' || pathname !== '/apply') return void response.writeHead(404).end()
      const probationMs = Math.min(longestWaitMs, Math.max(0, Number(new URLSearchParams(query).get('probationMs')) || 0))
      apply({ probationMs }).then(
        () => response.writeHead(200).end(),
        (error: unknown) => response.writeHead(409).end((error as Error).message),
      )
    })
  }

  async listen(folder: string): Promise<void> {
    const socket = controlSocket(folder)
    rmSync(socket, { force: true })
    await new Promise<void>((resolve, reject) => void this.#server.once('error', reject).listen(socket, resolve))
    chmodSync(socket, 0o600)
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise((resolve) => void this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }
}

/** Rejects with what the gateway says against it. */
export function askToApply(folder: string, probationMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: controlSocket(folder), path: `/apply?probationMs=${probationMs}`, method: 'POST', agent: false })
    outgoing.setTimeout(longestWaitMs + 60_000, () => void outgoing.destroy(new Error('no answer')))
    outgoing.once('error', (cause) => reject(new GatewayError('ERR_GATEWAY_CLOSED', `no gateway runs in ${folder}`, { cause })))
    outgoing.once('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => (text += part))
      response.once('end', () => (response.statusCode === 200 ? resolve() : reject(new GatewayError('ERR_GATEWAY_NOT_TAKEN', text))))
    })
    outgoing.end()
  })
}
