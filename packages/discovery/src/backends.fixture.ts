import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { createDiscovery, type ServiceClient, type ServiceClientOptions } from './index.ts'
import { staticInstances } from './registries/static.ts'

export interface Backend {
  url: string
  server: Server
  requests: IncomingMessage[]
  stop(): Promise<void>
}

export async function backend(handle: RequestListener = (_, response) => response.end('ok'), port = 0): Promise<Backend> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    handle(request, response)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const stop = async (): Promise<void> => {
    if (!server.listening) return
    const closed = new Promise<unknown>((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  onTestFinished(stop)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, requests, stop }
}

export async function deadUrl(): Promise<string> {
  const { url, stop } = await backend()
  await stop()
  return url
}

export function clientOf(urls: readonly string[], options: ServiceClientOptions = {}): ServiceClient {
  const discovery = createDiscovery({ registry: staticInstances({ shop: urls }) })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  return discovery.client('shop', options)
}

export const status =
  (code: number, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    response.writeHead(code, headers).end(String(code))
export const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
export const statusOf = async (promise: Promise<Response>): Promise<number> => {
  const response = await promise
  await response.text()
  return response.status
}
export const quick = { timeoutMs: 20_000, retry: { maxAttempts: 3, initialDelayMs: 1 } }
