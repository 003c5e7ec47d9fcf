/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const process = {
  'process.cpu.time': {
    kind: 'counter',
    unit: 's',
    description: 'CPU time used',
    owners: ['telemetry'],
    prometheus: 'process_cpu_time_seconds',
    labels: { 'cpu.mode': 'cpu_mode' },
  },
  'process.memory.usage': {
    kind: 'up-down counter',
    unit: 'By',
    description: 'Resident set size',
    owners: ['telemetry'],
    prometheus: 'process_memory_usage_bytes',
    labels: {},
  },
  'process.uptime': {
    kind: 'gauge',
    unit: 's',
    description: 'Time since the process started',
    owners: ['telemetry'],
    prometheus: 'process_uptime_seconds',
    labels: {},
  },
} as const
