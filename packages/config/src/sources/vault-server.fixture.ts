import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Answers as Vault's documentation of the key/value engine, version 2, says: versions, check-and-set, deletion, destruction, tokens, namespaces,
 * a seal. It is not Vault.
 */
export interface VaultServer {
  readonly url: string
  token: string
  sealed: boolean
  requests: number
  put(path: string, data: Record<string, unknown>): void
  remove(path: string): void
  newest(path: string): Record<string, unknown> | undefined
  close(): Promise<void>
}

interface Version {
  data: Record<string, unknown> | null
  created_time: string
  deletion_time: string
  destroyed: boolean
}

export async function startVault(): Promise<VaultServer> {
  const secrets = new Map<string, Version[]>()
  const add = (path: string, data: Record<string, unknown>): number => {
    const versions = secrets.get(path) ?? []
    secrets.set(path, versions)
    versions.push({ data, created_time: new Date().toISOString(), deletion_time: '', destroyed: false })
    return versions.length
  }
  const answer = (response: ServerResponse, status: number, body: object): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const metadata = (version: Version, number: number) => ({
    created_time: version.created_time,
    custom_metadata: null,
    deletion_time: version.deletion_time,
    destroyed: version.destroyed,
    version: number,
  })
  const envelope = (data: object) => ({ request_id: 'r', lease_id: '', renewable: false, lease_duration: 0, data, warnings: null })

  const vault: VaultServer = {
    url: '',
    token: 'root-token',
    sealed: false,
    requests: 0,
    put: (path, data) => void add(path, data),
    remove(path) {
      const newest = secrets.get(path)?.at(-1)
      if (newest) newest.deletion_time = new Date().toISOString()
    },
    newest: (path) => secrets.get(path)?.at(-1)?.data ?? undefined,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(() => resolve()))),
  }
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    vault.requests++
    if (vault.sealed) return answer(response, 503, { errors: ['Vault is sealed'] })
    if (request.headers['x-vault-token'] !== vault.token) return answer(response, 403, { errors: ['permission denied'] })
    const namespace = request.headers['x-vault-namespace']
    const [, mount, path] = /^\/v1\/(\w+)\/data\/(.+)$/.exec(new URL(request.url ?? '', 'http://vault').pathname) ?? []
    if (mount === undefined || path === undefined) return answer(response, 404, { errors: [] })
    const place = [namespace, mount, path].filter((part) => part !== undefined).join('/')
    const versions = secrets.get(place) ?? []
    const newest = versions.at(-1)
    if (request.method === 'GET') {
      if (newest === undefined) return answer(response, 404, { errors: [] })
      const isGone = newest.deletion_time !== '' || newest.destroyed
      const data = { data: isGone ? null : newest.data, metadata: metadata(newest, versions.length) }
      return answer(response, isGone ? 404 : 200, envelope(data))
    }
    if (request.method !== 'POST' && request.method !== 'PUT') return answer(response, 405, { errors: ['unsupported operation'] })
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const { data, options } = JSON.parse(Buffer.concat(parts).toString()) as { data: Record<string, unknown>; options?: { cas?: number } }
    if (options?.cas !== undefined && options.cas !== versions.length)
      return answer(response, 400, { errors: ['check-and-set parameter did not match the current version'] })
    const number = add(place, data)
    return answer(response, 200, envelope(metadata(secrets.get(place)!.at(-1)!, number)))
  }
  const server = createServer((request, response) => void handle(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(vault, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}
