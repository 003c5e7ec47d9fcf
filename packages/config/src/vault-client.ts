import { ConfigError, optionError } from './errors.ts'
import { ask, below } from './http-request.ts'
import { type Credential, revealCredential } from './options.ts'
import { isPlainObject } from './tree.ts'

export interface VaultAddress {
  /** Such as `https://vault:8200`. */
  url: string
  /** Where the engine is mounted. Default `secret`. */
  mount?: string | undefined
  /** The secret below it, such as `film-store/orders`. */
  path: string
  /** Vault Enterprise's namespace. Default none. */
  namespace?: string | undefined
}

interface RequestOptions {
  signal?: AbortSignal | undefined
  isBackground?: boolean | undefined
}

export interface VaultClient {
  /** The newest version; `undefined` when there is none or it is deleted. */
  read(options?: RequestOptions): Promise<{ data: Record<string, unknown>; version: number; createdAt: number } | undefined>
  /** Writes the next version if the newest is still `expected` (0: there is none); rejects with status 400 otherwise. */
  write(data: Record<string, unknown>, expected: number, options?: RequestOptions): Promise<void>
}

const limits = { timeoutMs: 5_000, maxBytes: 4 * 2 ** 20 }
const segments = /^[^/?#]+(\/[^/?#]+)*$/

export function vaultClient(address: VaultAddress, token: Credential): VaultClient {
  const { url, mount = 'secret', path, namespace } = address
  if (typeof url !== 'string' || !/^https?:$/.test(URL.parse(url)?.protocol ?? '')) throw optionError('url', 'an http:// or https:// URL')
  if (typeof mount !== 'string' || !segments.test(mount)) throw optionError('mount', 'a path such as secret')
  if (typeof path !== 'string' || !segments.test(path)) throw optionError('path', 'a path such as film-store/orders')
  const place = (text: string) => text.split('/').map(encodeURIComponent).join('/')
  const target = below(url, `/v1/${place(mount)}/data/${place(path)}`)
  const headers = async () => ({
    'x-vault-request': 'true',
    'x-vault-token': await revealCredential(token),
    ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
  })

  return {
    async read({ signal, isBackground } = {}) {
      const { status, body } = await ask({ url: target, headers: await headers(), signal, isBackground, ...limits })
      if (status === 404) return undefined
      if (status !== 200) throw refusal(status)
      const { data, metadata } = secretOf(body)
      return isPlainObject(data)
        ? { data, version: Number(metadata?.version), createdAt: Date.parse(String(metadata?.created_time)) }
        : undefined
    },
    async write(data, expected, { signal } = {}) {
      const json = { options: { cas: expected }, data }
      const { status } = await ask({ method: 'POST', url: target, headers: await headers(), json, signal, ...limits })
      if (status !== 200 && status !== 204) throw refusal(status)
    },
  }
}

/** What Vault's documentation says of its status codes. The body is not repeated. */
const meanings: Readonly<Record<number, string>> = {
  400: 'the request, or the version it expects, is not right',
  403: 'the token may not',
  429: 'a standby, or too many requests',
  473: 'a performance standby',
  503: 'sealed or under maintenance',
}

function refusal(status: number): ConfigError {
  const meaning = meanings[status]
  return new ConfigError('ERR_CONFIG_SOURCE', `Vault answered ${status}${meaning ? `: ${meaning}` : ''}`, { status })
}

function secretOf(body: string): { data?: unknown; metadata?: { version?: unknown; created_time?: unknown } } {
  try {
    const answer = JSON.parse(body) as { data?: { data?: unknown; metadata?: { version?: unknown } } }
    if (typeof answer.data?.metadata?.version === 'number') return answer.data
  } catch {}
  throw new ConfigError('ERR_CONFIG_SOURCE', 'Vault answered something else than a secret of the key/value engine, version 2')
}
