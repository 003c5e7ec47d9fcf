import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import type { Credential } from '../options.ts'

export type Refusal = { readonly status: 401 | 403 | 421; readonly text: string }

/**
 * Who may ask. The `Host` comes first: a page in a browser can point a name of its own at this listener, but it cannot be called by an address
 * or a name that it does not own. Then the token, when there is one; and without one nothing is changed.
 */
export async function refusalOf(
  request: IncomingMessage,
  { hosts, token }: { hosts: readonly string[]; token?: Credential | undefined },
): Promise<Refusal | undefined> {
  if (!isOwnName(request.headers.host, hosts)) {
    return { status: 421, text: 'this Host is not served: ask by address, or list the name in admin.hosts' }
  }
  if (token !== undefined) return (await carries(request, token)) ? undefined : { status: 401, text: 'a bearer token is needed' }
  if (request.method === 'GET' || request.method === 'HEAD') return undefined
  return { status: 403, text: 'changes need a token: set admin.token' }
}

function isOwnName(host: string | undefined, hosts: readonly string[]): boolean {
  // URL would take what is before an @ for a user.
  if (host === undefined || host.includes('@') || !URL.canParse(`http://${host}`)) return false
  const { hostname: name } = new URL(`http://${host}`)
  const address = name.startsWith('[') ? name.slice(1, -1) : name
  return isIP(address) > 0 || ['localhost', hostname().toLowerCase(), ...hosts.map((one) => one.toLowerCase())].includes(name)
}

async function carries(request: IncomingMessage, credential: Credential): Promise<boolean> {
  const asked = typeof credential === 'function' ? await credential() : credential
  const token = typeof asked === 'string' ? asked : asked.reveal()
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return token !== '' && timingSafeEqual(digest(`Bearer ${token}`), digest(request.headers.authorization ?? ''))
}
