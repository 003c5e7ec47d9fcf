/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformHealth = {
  'platform.health.check.status': {
    kind: 'gauge',
    unit: '',
    description: '1 for the status a check has now, 0 for the others',
    owners: ['health'],
    prometheus: 'platform_health_check_status',
    labels: { 'platform.health.check.name': 'platform_health_check_name', 'platform.health.check.status': 'platform_health_check_status' },
  },
} as const
