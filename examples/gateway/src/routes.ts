import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Where the door listens and whom it asks for keys: all that differs from one mode to the other. */
export interface Standing {
  readonly address: string
  readonly port: number
  readonly keysUrl: string
  /** TLS at the door with this certificate and key, and to services from this authority. */
  readonly tls?: { readonly certificate: string; readonly authority: string }
}

const inFile: Standing = { address: '127.0.0.1', port: 8080, keysUrl: 'http://127.0.0.1:8090/keys' }
const listener = ({ port, address, tls }: Standing) => {
  const secure = tls && `, tls: { certificateFile: ${tls.certificate}, keyFile: ${tls.certificate} }`
  return `{ port: ${port}, address: ${address}${secure ?? ''} }`
}
const services = ({ tls }: Standing) =>
  ['catalog-api', 'orders-api', 'identity-api'].map((name) => `  ${name}: {${tls ? ` tls: { caFile: ${tls.authority} } ` : ''}}\n`).join('')
const keys = ({ keysUrl }: Standing) => `jwksUri: ${keysUrl}\n`

/** The text of `gateway.yaml` for a place. */
export function routesAt(standing: Standing): string {
  const text = readFileSync(fileURLToPath(import.meta.resolve('@film-store/gateway/gateway.yaml')), 'utf8')
  return [listener, services, keys].reduce((rest, line) => {
    if (!rest.includes(line(inFile))) throw new Error(`gateway.yaml does not say ${line(inFile)}`)
    return rest.replace(line(inFile), line(standing))
  }, text)
}
