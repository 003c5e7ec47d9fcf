/** Tests of a gateway that follow from its file: what each route must answer, whatever the services behind it do. */
import { request } from 'node:http'
import { byHost } from './check-routes.ts'
import { corsOf } from './compile/cors.ts'
import { allowed, type Candidate, methodsOf } from './compile/dispatch.ts'
import { pathKey } from './compile/names.ts'
import type { GatewayFile } from './gateway-file.ts'

export interface ContractCase {
  /** What is asked and expected, in words. */
  name: string
  method: string
  path: string
  headers: Record<string, string>
  /** Length of the body that is announced; it is not sent. */
  announcedBytes?: number | undefined
  /** As often is it asked; the last answer counts. Default 1. */
  times?: number | undefined
  /** The status, or `service`: the request reached a service, or found none that could answer. */
  expected: number | 'service'
  /** Headers that the answer must have, by a part of their value. */
  answers?: Record<string, string> | undefined
}

export interface ContractResult {
  case: ContractCase
  passed: boolean
  /** What was answered instead. */
  found: string
}

const largestAnnounced = 1_000_000_000
const mostTries = 300
const askTimeoutMs = 10_000

export function contractCases(file: GatewayFile): ContractCase[] {
  return [...byHost(file)].flatMap(([host, placed]) => {
    const headers: Record<string, string> = host === '' ? {} : { host: host.replace('*', 'any') }
    const paths = [...Map.groupBy(placed, ({ match }) => pathKey(match)).values()]
    const own: ContractCase = {
      name: `${host || 'any host'}: the gateway's own paths are nobody's`,
      method: 'GET',
      path: '/_platform/verify',
      headers,
      expected: 404,
    }
    return [own, ...paths.flatMap((candidates) => casesOf(candidates, headers))]
  })
}

/** Of one path. What an expression matches is not guessed. */
function casesOf(candidates: readonly Candidate[], headers: Record<string, string>): ContractCase[] {
  const {
    path: { type, value: path },
  } = candidates[0]!.match
  if (type === 'RegularExpression') return []
  const known = allowed(candidates)
  const stranger = ['DELETE', 'PUT', 'PATCH', 'POST', 'GET'].find((method) => !known.includes(method))
  const wrongMethod: ContractCase[] =
    stranger === undefined
      ? []
      : [{ name: `${stranger} ${path} is not allowed`, method: stranger, path, headers, expected: 405, answers: { allow: known[0]! } }]
  const dots = `${path === '/' ? '' : path}/%2e%2e/x`
  const raw: ContractCase = { name: `${dots} is refused as it came`, method: 'GET', path: dots, headers, expected: 400 }
  return [raw, ...wrongMethod, ...candidates.flatMap((candidate) => routeCases(candidate, path, headers))]
}

function routeCases({ route, match }: Candidate, path: string, hostHeaders: Record<string, string>): ContractCase[] {
  if (match.headers.some(({ type }) => type === 'RegularExpression')) return []
  const headers = { ...hostHeaders, ...Object.fromEntries(match.headers.map(({ name, value }) => [name, value])) }
  const method = route.grpc ? 'POST' : methodsOf(match)[0]!
  const redirect = route.filters.find((filter) => 'requestRedirect' in filter)?.requestRedirect
  const at = { method, path, headers }
  const name = `${route.name}: ${method} ${path}`
  const cases: ContractCase[] = []
  if (redirect !== undefined) return [{ ...at, name: `${name} is redirected`, expected: redirect.statusCode, answers: { location: '://' } }]
  if (route.auth === 'public') cases.push({ ...at, name: `${name} is public`, expected: 'service' })
  else if (route.grpc) {
    const answers = { 'grpc-status': '16' }
    cases.push({ ...at, name: `${name} needs a token`, expected: 200, answers })
    cases.push({
      ...at,
      headers: { ...headers, authorization: 'Bearer a.b.c' },
      name: `${name} needs a good token`,
      expected: 200,
      answers,
    })
  } else {
    cases.push({ ...at, name: `${name} needs a token`, expected: 401, answers: { 'www-authenticate': 'Bearer' } })
    cases.push({ ...at, headers: { ...headers, authorization: 'Bearer a.b.c' }, name: `${name} needs a good token`, expected: 401 })
  }
  const limit = route.maxBodyBytes
  const sends = methodsOf(match).find((each) => ['POST', 'PUT', 'PATCH'].includes(each))
  if (limit !== undefined && sends !== undefined && limit < largestAnnounced) {
    cases.push({
      ...at,
      method: sends,
      name: `${route.name}: a body of more than ${limit} bytes is too large`,
      announcedBytes: limit + 1,
      expected: 413,
    })
  }
  const cors = corsOf(route)
  if (cors !== undefined && !match.method?.startsWith('OPTIONS')) {
    const asks = { ...headers, origin: cors.allowOrigins[0]!, 'access-control-request-method': method }
    cases.push({
      ...at,
      method: 'OPTIONS',
      headers: asks,
      name: `${route.name}: a preflight is answered`,
      expected: 204,
      answers: { 'access-control-allow-origin': cors.allowOrigins[0]! },
    })
  }
  const { rateLimit } = route
  const burst = rateLimit?.burst ?? rateLimit?.requests ?? 0
  // Slow enough not to be filled again while it is asked.
  if (rateLimit !== undefined && route.auth === 'public' && burst < mostTries && rateLimit.periodMs / rateLimit.requests > askTimeoutMs) {
    cases.push({
      ...at,
      name: `${route.name}: more than ${burst} at once are too many`,
      times: burst + 1,
      expected: route.grpc ? 200 : 429,
      answers: { 'retry-after': '', ratelimit: 'r=0', ...(route.grpc ? { 'grpc-status': '8' } : {}) },
    })
  }
  return cases
}

/** Asks a running gateway; `url` is that of one of its plain listeners. One after the other: limits count. */
export async function runContract(cases: readonly ContractCase[], url: string): Promise<ContractResult[]> {
  const results: ContractResult[] = []
  for (const each of cases) {
    let answer = await ask(each, url)
    for (let time = 1; time < (each.times ?? 1); time++) answer = await ask(each, url)
    results.push({ case: each, passed: passes(each, answer), found: answer.status === 0 ? answer.problem : `status ${answer.status}` })
  }
  return results
}

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  problem: string
}

function passes({ expected, answers = {} }: ContractCase, { status, headers }: Answer): boolean {
  const right = expected === 'service' ? String(headers['server-timing'] ?? '').includes('upstream') : status === expected
  return right && Object.entries(answers).every(([name, part]) => headers[name] !== undefined && String(headers[name]).includes(part))
}

function ask({ method, path, headers, announcedBytes }: ContractCase, url: string): Promise<Answer> {
  const { hostname, port } = new URL(url)
  const length = announcedBytes === undefined ? {} : { 'content-length': String(announcedBytes), expect: '100-continue' }
  return new Promise((resolve) => {
    const outgoing = request({
      hostname,
      port,
      method,
      path,
      headers: { ...headers, ...length, connection: 'close' },
      agent: false,
      timeout: askTimeoutMs,
    })
    outgoing.once('timeout', () => void outgoing.destroy(new Error(`no answer within ${askTimeoutMs} ms`)))
    outgoing.once('error', (error) => resolve({ status: 0, headers: {}, problem: error.message }))
    outgoing.once('response', (response) => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers, problem: '' })
      response.resume()
      if (announcedBytes !== undefined) outgoing.destroy()
    })
    if (announcedBytes === undefined) outgoing.end()
    else outgoing.flushHeaders()
  })
}
