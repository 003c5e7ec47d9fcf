import { type Directive, directive, raw, word } from '../nginx-text.ts'

/** What nginx tells of each request, as JSON in a datagram. The query is left out: it holds what nobody wants in a log. */
export const logFields = {
  generation: '',
  t: '$msec',
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

export function accessLog(port: number, generation: string): Directive[] {
  const text = Object.entries({ ...logFields, generation }).map(([field, from]) => `"${field}":"${from}"`)
  return [
    { name: 'map', args: [word('$request_uri'), word('$platform_path')], block: [{ name: '~^([^?]*)', args: [[{ variable: '1' }]] }] },
    directive('log_format', word('platform'), word('escape=json'), raw(`{${text.join(',')}}`)),
    directive('access_log', word(`syslog:server=127.0.0.1:${port},nohostname,tag=gateway`), word('platform')),
  ]
}
