/** What another file would change. */
import { byHost } from './check-routes.ts'
import type { GatewayFile } from './gateway-file.ts'

export interface Difference {
  /** Lines like `route films: changed (timeouts, retry)`. */
  readonly lines: readonly string[]
  /** Services whose group of instances is made or taken away. */
  readonly upstreams: readonly string[]
  /** Hosts and paths that were answered and will not be. */
  readonly lostPaths: readonly string[]
}

export function difference(before: GatewayFile, after: GatewayFile): Difference {
  const lines: string[] = []
  const named = (file: GatewayFile) => new Map(file.routes.map((route) => [route.name, route]))
  compareNamed('route', named(before), named(after), lines)
  compareNamed(
    'identity provider',
    new Map(Object.entries(before.identityProviders)),
    new Map(Object.entries(after.identityProviders)),
    lines,
  )
  const upstreams: string[] = []
  compareNamed('service', new Map(Object.entries(before.services)), new Map(Object.entries(after.services)), upstreams)
  const listeners = (file: GatewayFile) => new Map(file.listeners.map((listener) => [String(listener.port), listener]))
  compareNamed('listener', listeners(before), listeners(after), lines)
  for (const key of ['trustedProxies', 'traceSampleRatio'] as const) {
    if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) lines.push(`${key}: changed`)
  }
  const there = new Set(pathsOf(after))
  return { lines, upstreams, lostPaths: pathsOf(before).filter((path) => !there.has(path)) }
}

function compareNamed(kind: string, before: ReadonlyMap<string, object>, after: ReadonlyMap<string, object>, lines: string[]): void {
  for (const name of before.keys()) if (!after.has(name)) lines.push(`${kind} ${name}: removed`)
  for (const [name, next] of after) {
    const last = before.get(name)
    if (last === undefined) lines.push(`${kind} ${name}: added`)
    else {
      const changed = changedKeys(last as Record<string, unknown>, next as Record<string, unknown>)
      if (changed.length > 0) lines.push(`${kind} ${name}: changed (${changed.join(', ')})`)
    }
  }
}

function changedKeys(before: Record<string, unknown>, after: Record<string, unknown>): string[] {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...keys].filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
}

function pathsOf(file: GatewayFile): string[] {
  return [...byHost(file)].flatMap(([host, placed]) => [
    ...new Set(placed.map(({ match: { path, method } }) => `${host || 'any host'} ${method ?? 'any method'} ${path.value}`)),
  ])
}
