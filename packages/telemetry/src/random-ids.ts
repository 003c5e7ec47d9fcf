import { randomFillSync } from 'node:crypto'
import type { IdGenerator } from '@opentelemetry/sdk-trace'

// One fill and one text for some dozen ids, which are parts of it. A small one, since an id that is kept keeps it.
const pool = Buffer.allocUnsafeSlow(1_024)
let digits = ''
let used = 0

function hex(length: number): string {
  if (used + length > digits.length) {
    digits = randomFillSync(pool).toString('hex')
    used = 0
  }
  const from = used
  used += length
  return digits.slice(from, used)
}

/** Ids of traces and spans. */
export const randomIds: IdGenerator = {
  generateTraceId: () => hex(32),
  generateSpanId: () => hex(16),
}
