/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformLogger = {
  'platform.logger.at_risk': {
    kind: 'up-down counter',
    unit: '{line}',
    description: 'Lines that wait for their destination',
    owners: ['logger'],
    prometheus: 'platform_logger_at_risk',
    labels: {},
  },
  'platform.logger.dropped': {
    kind: 'counter',
    unit: '{line}',
    description: 'Lines lost',
    owners: ['logger'],
    prometheus: 'platform_logger_dropped',
    labels: {},
  },
  'platform.logger.left_out': {
    kind: 'counter',
    unit: '{line}',
    description: 'Lines left out as repeated',
    owners: ['logger'],
    prometheus: 'platform_logger_left_out',
    labels: {},
  },
  'platform.logger.lines': {
    kind: 'counter',
    unit: '{line}',
    description: 'Lines logged',
    owners: ['logger'],
    prometheus: 'platform_logger_lines',
    labels: { level: 'level' },
  },
} as const
