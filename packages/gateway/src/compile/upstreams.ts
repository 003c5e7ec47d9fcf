import { block, type Directive, directive, raw, word } from '../nginx-text.ts'
import type { GatewayFile } from '../gateway-file.ts'
import { grpcUpstreamOf, upstreamOf, zoneSize } from './names.ts'

export interface Endpoint {
  readonly address: string
  readonly port: number
  readonly weight: number
}

/** How nginx learns of instances: from a name server, or from this text. */
export type Endpoints =
  | { readonly by: 'dns' /** `127.0.0.1:8053`. */; readonly resolver: string; readonly domain: string }
  | { readonly by: 'text'; readonly of: ReadonlyMap<string, readonly Endpoint[]> }

/** The first version that asks for SRV records in an upstream. */
export const dnsSince = '1.27.3'

export function upstreams(file: GatewayFile, endpoints: Endpoints, sentinel: string): Directive[] {
  const ofGrpc = new Set(file.routes.filter(({ grpc }) => grpc).flatMap(({ backendRefs }) => backendRefs.map(({ name }) => name)))
  const named = Object.entries(file.services).flatMap(([service, { maxInstances }]) => [
    { service, maxInstances, name: upstreamOf(service) },
    ...(ofGrpc.has(service) ? [{ service, maxInstances, name: grpcUpstreamOf(service) }] : []),
  ])
  const groups = named.map(({ service, maxInstances, name }) => {
    const zone = directive('zone', word(name), word(zoneSize(maxInstances)))
    const servers = endpoints.by === 'dns' ? [resolved(service, endpoints.domain)] : (endpoints.of.get(service) ?? []).map(listed)
    // All are down: its answer. None is there at all: it stands alone.
    const last = directive('server', raw(`unix:${sentinel}`), word('max_fails=0'), ...(servers.length === 0 ? [] : [word('backup')]))
    return block(
      'upstream',
      [word(name)],
      [zone, directive('least_conn'), ...servers, last, directive('keepalive', 64), directive('keepalive_timeout', word('30s'))],
    )
  })
  if (endpoints.by === 'text') return groups
  return [directive('resolver', word(endpoints.resolver), word('ipv6=off')), directive('resolver_timeout', word('1s')), ...groups]
}

const health = [word('max_fails=2'), word('fail_timeout=1s')]

function resolved(service: string, domain: string): Directive {
  return directive('server', raw(`${service}.${domain}`), word('service=http'), word('resolve'), ...health)
}

function listed({ address, port, weight }: Endpoint): Directive {
  const host = address.includes(':') ? `[${address}]` : address
  return directive('server', raw(`${host}:${port}`), word(`weight=${Math.min(65_535, Math.max(1, Math.round(weight)))}`), ...health)
}
