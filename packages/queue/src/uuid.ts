import { randomFillSync } from 'node:crypto'

const pool = Buffer.alloc(1024)
let offset = pool.length
let last = 0
let sequence = 0
/** The part that one millisecond's ids share. */
let prefix = ''

/** A UUID version 7 that grows with every call of this process, also within one millisecond: ties in a database's clock are broken by it. */
export function uuidv7(now: number = Date.now()): string {
  sequence += 1
  if (now > last || sequence > 0xfff) {
    last = Math.max(now, last + 1)
    sequence = 0
    const time = last.toString(16).padStart(12, '0')
    prefix = `${time.slice(0, 8)}-${time.slice(8)}-7`
  }
  if (offset + 8 > pool.length) {
    randomFillSync(pool)
    offset = 0
  }
  pool[offset] = ((pool[offset] as number) & 0x3f) | 0x80
  const random = pool.toString('hex', offset, offset + 8)
  offset += 8
  return `${prefix}${(0x1000 + sequence).toString(16).slice(1)}-${random.slice(0, 4)}-${random.slice(4)}`
}
