import { randomFillSync } from 'node:crypto'
import type { IdGenerator } from '@opentelemetry/sdk-trace'

// One fill for some hundred ids.
const pool = Buffer.allocUnsafeSlow(8_192)
let used = pool.length

function hex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const from = used
  used += bytes
  return pool.toString('hex', from, used)
}

/** Ids of traces and spans. */
export const randomIds: IdGenerator = {
  generateTraceId: () => hex(16),
  generateSpanId: () => hex(8),
}
