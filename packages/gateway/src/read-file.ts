import { isMap, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import type { z } from 'zod'
import { checkRoutes } from './check-routes.ts'
import { type Fault, faultyFile } from './errors.ts'
import type { GatewayFile } from './gateway-file.ts'
import { gatewaySchema } from './schema.ts'

export type Path = readonly (string | number)[]

/** Something wrong at a place of the file. */
export interface Finding {
  path: Path
  problem: string
}

const longestFile = 8_000_000
const mostAliases = 100

/**
 * Reads a file of routes (YAML or JSON). Whatever is wrong is told at once, each with its line and route, in an `ERR_GATEWAY_FILE`: what the
 * schema refuses and, when that passes, what contradicts itself (`checkRoutes`).
 */
export function readGatewayFile(contents: string, name: string = 'gateway.yaml'): GatewayFile {
  if (contents.length > longestFile) throw faultyFile(name, [{ line: 1, column: 1, route: undefined, problem: 'is longer than 8 MB' }])
  const lines = new LineCounter()
  const document = parseDocument(contents, { lineCounter: lines, uniqueKeys: true, stringKeys: true })
  const at = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  if (document.errors.length > 0) {
    throw faultyFile(
      name,
      document.errors.map(({ pos, message }) => ({ ...at(pos[0]), route: undefined, problem: message.split('\n')[0]! })),
    )
  }
  const value = plainValue(document, name)
  const locate = ({ path, problem }: Finding): Fault => ({ ...at(offsetOf(document, path)), route: routeOf(document, path), problem })
  const parsed = gatewaySchema.safeParse(value)
  if (!parsed.success) throw faultyFile(name, parsed.error.issues.flatMap((issue) => findings(issue, document)).map(locate))
  const contradictions = checkRoutes(parsed.data)
  if (contradictions.length > 0) throw faultyFile(name, contradictions.map(locate))
  return parsed.data
}

function plainValue(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: mostAliases })
  } catch {
    throw faultyFile(name, [{ line: 1, column: 1, route: undefined, problem: `refers to itself by more than ${mostAliases} aliases` }])
  }
}

/** Of a union, the alternative that came nearest: what is wrong in it stands deepest. */
function findings(issue: z.core.$ZodIssue, document: Document): Finding[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))
  if (path.length > 0 && !document.hasIn(path)) return [{ path, problem: `${path.at(-1)} is needed` }]
  if (issue.code === 'invalid_union') {
    const depth = (issues: readonly z.core.$ZodIssue[]): number => Math.max(0, ...issues.map((inner) => inner.path.length))
    const nearest = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0]
    if (nearest !== undefined && depth(nearest) > 0) {
      return nearest.flatMap((inner) => findings({ ...inner, path: [...issue.path, ...inner.path] }, document))
    }
    return [{ path, problem: 'is none of the forms that may stand here' }]
  }
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], problem: `unknown key ${quotable(key)}` }))
  }
  return [
    { path, problem: path.length === 0 ? issue.message : `${path.filter((step) => typeof step === 'string').at(-1)}: ${issue.message}` },
  ]
}

function quotable(key: string): string {
  return JSON.stringify(key.slice(0, 100))
}

/** Of the key for what has one, of the nearest that is there for what is missing. */
function offsetOf(document: Document, path: Path): number {
  const parent = path.length === 0 ? document.contents : path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true)
  const last = path.at(-1)
  if (isMap(parent)) {
    const pair = parent.items.find(({ key }) => isScalar(key) && String(key.value) === String(last))
    if (pair !== undefined && isScalar(pair.key) && pair.key.range) return pair.key.range[0]
  }
  const node = path.length === 0 ? document.contents : document.getIn(path, true)
  if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) return Number(node.range[0])
  return path.length === 0 ? 0 : offsetOf(document, path.slice(0, -1))
}

function routeOf(document: Document, path: Path): string | undefined {
  if (path[0] !== 'routes' || path.length < 2) return undefined
  const name: unknown = document.getIn(['routes', path[1], 'name'])
  return typeof name === 'string' ? name.slice(0, 63) : `number ${Number(path[1]) + 1}`
}
