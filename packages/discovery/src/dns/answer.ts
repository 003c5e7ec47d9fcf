import { addressText } from './address.ts'
import { RCODE, TYPE } from './message.ts'
import { nameBytes, readName } from './name.ts'

export interface Question {
  readonly name: string
  readonly type: number
}

export interface SrvTarget {
  readonly priority: number
  readonly weight: number
  readonly port: number
  readonly target: string
}

export interface AnswerRecord {
  readonly owner: string
  readonly type: number
  readonly ttlSeconds: number
  /** Of A and AAAA. */
  readonly address?: string
  readonly srv?: SrvTarget
}

export interface Answer {
  /** Whether the server knows: the name has these records, or it has none. */
  readonly isSure: boolean
  /** Those of the type that was asked for, whoever owns them: a name may stand for another one. */
  readonly records: readonly AnswerRecord[]
  /** What the server tells beyond that. */
  readonly additional: readonly AnswerRecord[]
}

const HEADER_BYTES = 12
const RECURSION_DESIRED = 0x0100
const RESPONSE = 0x8000
const TRUNCATED = 0x0200
/** RFC 2181: a time with the highest bit is none. */
const LONGEST_TTL = 0x7fff_ffff

export function encodeQuestion(id: number, { name, type }: Question): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(id, 0)
  header.writeUInt16BE(RECURSION_DESIRED, 2)
  header.writeUInt16BE(1, 4)
  return Buffer.concat([header, nameBytes(name), Buffer.of(type >> 8, type & 0xff, 0, 1)])
}

/** The id of a message that may be an answer. */
export function answerId(message: Buffer): number | undefined {
  return message.length < HEADER_BYTES || (message.readUInt16BE(2) & RESPONSE) === 0 ? undefined : message.readUInt16BE(0)
}

/** Undefined: no whole answer to this question. */
export function decodeAnswer(message: Buffer, { name, type }: Question): Answer | undefined {
  const flags = message.readUInt16BE(2)
  const question = message.readUInt16BE(4) === 1 ? readName(message, HEADER_BYTES) : undefined
  if (question?.name !== name.toLowerCase() || (flags & TRUNCATED) !== 0) return undefined
  let at = question.end + 4
  const take = (count: number): AnswerRecord[] | undefined => {
    const records: AnswerRecord[] = []
    for (let index = 0; index < count; index++) {
      const owner = readName(message, at)
      if (owner === undefined || owner.end + 10 > message.length) return undefined
      const start = owner.end + 10
      const end = start + message.readUInt16BE(owner.end + 8)
      if (end > message.length) return undefined
      const ttl = message.readUInt32BE(owner.end + 4)
      const found = { owner: owner.name, type: message.readUInt16BE(owner.end), ttlSeconds: ttl > LONGEST_TTL ? 0 : ttl }
      const data = recordData(message, found.type, start, end)
      if (data === undefined) return undefined
      records.push({ ...found, ...data })
      at = end
    }
    return records
  }
  const answers = take(message.readUInt16BE(6))
  const authority = answers && take(message.readUInt16BE(8))
  const additional = authority && take(message.readUInt16BE(10))
  if (answers === undefined || additional === undefined) return undefined
  const code = flags & 0xf
  const isSure = code === RCODE.NOERROR || code === RCODE.NXDOMAIN
  return { isSure, records: answers.filter((record) => record.type === type), additional }
}

function recordData(message: Buffer, type: number, start: number, end: number): Pick<AnswerRecord, 'address' | 'srv'> | undefined {
  if (type === TYPE.A || type === TYPE.AAAA) {
    return end - start === (type === TYPE.A ? 4 : 16) ? { address: addressText(message.subarray(start, end)) } : undefined
  }
  if (type !== TYPE.SRV) return {}
  const target = readName(message, start + 6)
  if (target?.end !== end) return undefined
  const [priority, weight, port] = [0, 2, 4].map((offset) => message.readUInt16BE(start + offset)) as [number, number, number]
  return { srv: { priority, weight, port, target: target.name } }
}
