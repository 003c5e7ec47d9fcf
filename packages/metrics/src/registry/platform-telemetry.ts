/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformTelemetry = {
  'platform.telemetry.exported.logs': {
    kind: 'counter',
    unit: '',
    description: 'Log lines, by what became of them',
    owners: ['telemetry'],
    prometheus: 'platform_telemetry_exported_logs',
    labels: { outcome: 'outcome' },
  },
  'platform.telemetry.exported.spans': {
    kind: 'counter',
    unit: '',
    description: 'Spans to be exported, by what became of them',
    owners: ['telemetry'],
    prometheus: 'platform_telemetry_exported_spans',
    labels: { outcome: 'outcome' },
  },
  'platform.telemetry.spans': {
    kind: 'counter',
    unit: '',
    description: 'Traces begun here, by the decision of the sampler',
    owners: ['telemetry'],
    prometheus: 'platform_telemetry_spans',
    labels: { sampled: 'sampled' },
  },
  'platform.telemetry.upgraded.traces': {
    kind: 'counter',
    unit: '',
    description: 'Unsampled traces of which the part done here was exported',
    owners: ['telemetry'],
    prometheus: 'platform_telemetry_upgraded_traces',
    labels: { 'sampling.reason': 'sampling_reason' },
  },
} as const
