/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformDiscovery = {
  'platform.discovery.dns.answers': {
    kind: 'counter',
    unit: '{answer}',
    description: 'Answers of the DNS responder by their code',
    owners: ['discovery'],
    prometheus: 'platform_discovery_dns_answers',
    labels: { code: 'code', transport: 'transport' },
  },
  'platform.discovery.ejections': {
    kind: 'counter',
    unit: '{ejection}',
    description: 'Instances left out after failures',
    owners: ['discovery'],
    prometheus: 'platform_discovery_ejections',
    labels: { service: 'service' },
  },
  'platform.discovery.events': {
    kind: 'counter',
    unit: '{event}',
    description: 'Changes of instances and registries by their type',
    owners: ['discovery'],
    prometheus: 'platform_discovery_events',
    labels: { type: 'type', service: 'service' },
  },
  'platform.discovery.watch.failures': {
    kind: 'counter',
    unit: '{read}',
    description: 'Reads of a registry that failed',
    owners: ['discovery'],
    prometheus: 'platform_discovery_watch_failures',
    labels: { registry: 'registry', service: 'service' },
  },
} as const
