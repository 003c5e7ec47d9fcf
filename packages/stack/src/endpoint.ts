import { StackError } from './errors.ts'

export interface Endpoint {
  host: string
  port: number
}

/** Where a URL leads, as sockets take it: an IPv6 address loses its brackets. */
export function endpointOf(url: string, defaultPort: number): Endpoint {
  const { hostname, port } = new URL(url)
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || defaultPort) }
}

/** The text never stands in the error: a password may be in it. */
export function checkUrl(option: string, text: string, protocols: readonly string[]): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && protocols.includes(url.protocol) && url.hostname !== '') return
  const forms = protocols.map((protocol) => `${protocol}//…`).join(' or ')
  throw new StackError('ERR_STACK_OPTION', `${option} must be a URL that begins with ${forms}`, { option })
}
