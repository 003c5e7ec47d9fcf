import { randomFillSync } from 'node:crypto'

const pool = Buffer.alloc(1024)
let offset = pool.length
let last = 0
let sequence = 0

/** A UUID version 7 that grows with every call of this process, also within one millisecond: ties in a database's clock are broken by it. */
export function uuidv7(now: number = Date.now()): string {
  if (now > last) {
    last = now
    sequence = 0
  } else {
    sequence += 1
    if (sequence > 0xfff) {
      last += 1
      sequence = 0
    }
  }
  if (offset + 8 > pool.length) {
    randomFillSync(pool)
    offset = 0
  }
  const time = last.toString(16).padStart(12, '0')
  const random = pool.toString('hex', offset, offset + 8)
  offset += 8
  const variant = ((Number.parseInt(random[0] as string, 16) & 0x3) | 0x8).toString(16)
  return `${time.slice(0, 8)}-${time.slice(8)}-7${sequence.toString(16).padStart(3, '0')}-${variant}${random.slice(1, 4)}-${random.slice(4)}`
}
