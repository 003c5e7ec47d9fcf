import { type Directive, directive, raw, word } from '../nginx-text.ts'

/** What nginx tells of each request, in this order. The query is left out: it holds what nobody wants in a log. */
export const logFields = {
  revision: '',
  id: '$request_id',
  span: '$platform_span',
  sampled: '$platform_sampled',
  route: '$platform_route',
  method: '$request_method',
  path: '$platform_path',
  protocol: '$server_protocol',
  host: '$host',
  status: '$status',
  bytes: '$body_bytes_sent',
  seconds: '$request_time',
  client: '$remote_addr',
  agent: '$http_user_agent',
  upstream: '$upstream_addr',
  upstreamStatus: '$upstream_status',
  upstreamSeconds: '$upstream_response_time',
  verdict: '$platform_status',
  code: '$platform_code',
  subject: '$platform_subject',
  authMs: '$platform_auth_ms',
} as const

/** Values with a tab between them: in `escape=json` no value holds a tab or the end of a line. Written together, and no later than `flush`. */
export function accessLog(path: string, revision: string): Directive[] {
  const values = Object.values({ ...logFields, revision }).join('\t')
  return [
    { name: 'map', args: [word('$request_uri'), word('$platform_path')], block: [{ name: '~^([^?]*)', args: [[{ variable: '1' }]] }] },
    directive('log_format', word('platform'), word('escape=json'), raw(values)),
    directive('access_log', raw(path), word('platform'), word('buffer=16k'), word('flush=500ms')),
  ]
}
