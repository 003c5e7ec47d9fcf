/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformConfig = {
  'platform.config.reloads': {
    kind: 'counter',
    unit: '{reload}',
    description: '',
    owners: ['config'],
    prometheus: 'platform_config_reloads',
    labels: { 'platform.config.outcome': 'platform_config_outcome' },
  },
  'platform.config.revision': {
    kind: 'gauge',
    unit: '',
    description: 'How many times settings were applied',
    owners: ['config'],
    prometheus: 'platform_config_revision',
    labels: {},
  },
} as const
