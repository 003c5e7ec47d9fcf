import type { RequestListener } from 'node:http'
import type { Report } from './check.ts'

export interface Probes {
  liveness: () => Report
  readiness: () => Report
  startup: () => Report
}

const headers = { 'content-type': 'application/health+json', 'cache-control': 'no-store' }
const headersOf = (status: number): Record<string, string> => (status === 405 ? { ...headers, allow: 'GET, HEAD' } : headers)

function answer(probes: Probes, method: string | undefined, url: string): { status: number; body: string } {
  const path = url.split('?', 1)[0]
  const probe = path === '/live' ? probes.liveness : path === '/ready' ? probes.readiness : path === '/started' ? probes.startup : undefined
  if (!probe) return { status: 404, body: '{"status":"fail","output":"paths are /live /ready /started"}' }
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, body: '{"status":"fail","output":"GET or HEAD"}' }
  const report = probe()
  // The draft wants a list per check and calls the text `output`.
  const checks = Object.fromEntries(
    Object.entries(report.checks).map(([name, { status, ageMs, message }]) => [name, [{ status, ageMs, output: message }]]),
  )
  return { status: report.status === 'fail' ? 503 : 200, body: JSON.stringify({ ...report, checks }) }
}

export function nodeHandler(probes: Probes): RequestListener {
  return (request, response) => {
    const { status, body } = answer(probes, request.method, request.url ?? '/')
    response.writeHead(status, headersOf(status))
    response.end(request.method === 'HEAD' ? undefined : body)
  }
}

export function fetchHandler(probes: Probes): (request: Request) => Response {
  return (request) => {
    const { status, body } = answer(probes, request.method, new URL(request.url).pathname)
    return new Response(request.method === 'HEAD' ? null : body, { status, headers: headersOf(status) })
  }
}
