/** Written by `node scripts/check-generated.ts --write` from the code and the pages of the packages; not by hand. */
export const v8js = {
  'v8js.gc.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Garbage collection duration',
    owners: ['telemetry'],
    prometheus: 'v8js_gc_duration_seconds',
    labels: { 'v8js.gc.type': 'v8js_gc_type' },
  },
  'v8js.memory.heap.used': {
    kind: 'up-down counter',
    unit: 'By',
    description: 'Heap in use, by space',
    owners: ['telemetry'],
    prometheus: 'v8js_memory_heap_used_bytes',
    labels: { 'v8js.heap.space.name': 'v8js_heap_space_name' },
  },
} as const
