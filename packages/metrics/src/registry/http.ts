/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const http = {
  'http.client.request.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Duration of HTTP client requests.',
    owners: ['discovery', 'telemetry'],
    prometheus: 'http_client_request_duration_seconds',
    labels: {
      'http.request.method': 'http_request_method',
      'server.address': 'server_address',
      'server.port': 'server_port',
      'http.response.status_code': 'http_response_status_code',
      'error.type': 'error_type',
    },
  },
  'http.server.request.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Duration of HTTP server requests.',
    owners: ['gateway', 'telemetry'],
    prometheus: 'http_server_request_duration_seconds',
    labels: {
      'http.request.method': 'http_request_method',
      'http.route': 'http_route',
      'http.response.status_code': 'http_response_status_code',
      'url.scheme': 'url_scheme',
      'error.type': 'error_type',
    },
  },
} as const
