/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformGateway = {
  'platform.gateway.key.fetches': {
    kind: 'counter',
    unit: '{fetch}',
    description: 'Key sets asked of identity providers',
    owners: ['gateway'],
    prometheus: 'platform_gateway_key_fetches',
    labels: { provider: 'provider', outcome: 'outcome' },
  },
  'platform.gateway.log_lines.unread': {
    kind: 'counter',
    unit: '{line}',
    description: 'Lines of the access log that cannot be read',
    owners: ['gateway'],
    prometheus: 'platform_gateway_log_lines_unread',
    labels: {},
  },
  'platform.gateway.reloads': {
    kind: 'counter',
    unit: '{reload}',
    description: 'Configurations given to nginx by their outcome',
    owners: ['gateway'],
    prometheus: 'platform_gateway_reloads',
    labels: { outcome: 'outcome' },
  },
  'platform.gateway.traces': {
    kind: 'counter',
    unit: '{trace}',
    description: 'Traces begun, and whether they are sampled',
    owners: ['gateway'],
    prometheus: 'platform_gateway_traces',
    labels: { sampled: 'sampled' },
  },
  'platform.gateway.verdicts': {
    kind: 'counter',
    unit: '{request}',
    description: 'Requests that the verifier was asked about, by its answer',
    owners: ['gateway'],
    prometheus: 'platform_gateway_verdicts',
    labels: { route: 'route', outcome: 'outcome' },
  },
} as const
