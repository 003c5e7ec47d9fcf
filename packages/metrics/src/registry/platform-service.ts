/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const platformService = {
  'platform.service.component.start.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Time a component needed to become ready',
    owners: ['service'],
    prometheus: 'platform_service_component_start_duration_seconds',
    labels: { 'platform.service.component': 'platform_service_component' },
  },
  'platform.service.events': {
    kind: 'counter',
    unit: '{event}',
    description: 'Starts, stops, losses of readiness and reloads of the service',
    owners: ['service'],
    prometheus: 'platform_service_events',
    labels: { 'platform.service.event': 'platform_service_event' },
  },
} as const
