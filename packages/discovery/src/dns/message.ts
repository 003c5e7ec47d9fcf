import { nameBytes, readName } from './name.ts'

/** https://www.iana.org/assignments/dns-parameters */
export const TYPE = { A: 1, SOA: 6, AAAA: 28, SRV: 33, OPT: 41 } as const
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const
export type ResponseCode = keyof typeof RCODE

const HEADER_BYTES = 12
const CLASS_INTERNET = 1
const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100 }
const OPCODE_MASK = 0x7800
/** Where every question begins, as a pointer: the owner of all records that answer it. */
const QUESTION_POINTER = Buffer.of(0xc0, HEADER_BYTES)
const SMALLEST_UDP = 512
/** Passes every path without being cut into fragments; https://dnsflagday.net/2020 */
const LARGEST_UDP = 1232
export const LARGEST_TCP = 65_535
/** What an answer holds beside its records at most: header, question, EDNS. */
const LARGEST_FRAME = HEADER_BYTES + 255 + 4 + 11
export const LARGEST_SECTION: number = LARGEST_TCP - LARGEST_FRAME

/** What somebody asks, or what is wrong with it. */
export type Query = {
  readonly id: number
  readonly recursionDesired: boolean
  /** As it came, to be repeated in the answer. */
  readonly question: Buffer
  /** What fits into one datagram for the asker. */
  readonly udpBytes: number
  readonly edns: boolean
} & ({ readonly name: string; readonly type: number; readonly wrong?: never } | { readonly wrong: ResponseCode })

export interface Section {
  readonly count: number
  readonly bytes: Buffer
}

export interface Reply {
  readonly code: ResponseCode
  readonly answers: Section
  readonly authority: Section
}

const noRecords: Section = { count: 0, bytes: Buffer.alloc(0) }

export function reply(code: ResponseCode, answers: Section = noRecords, authority: Section = noRecords): Reply {
  return { code, answers, authority }
}

/** Undefined for what must not be answered: no DNS at all, or itself an answer, which would be answered for ever. */
export function decodeQuery(message: Buffer): Query | undefined {
  if (message.length < HEADER_BYTES) return undefined
  const flags = message.readUInt16BE(2)
  if ((flags & FLAG.response) !== 0) return undefined
  const head = { id: message.readUInt16BE(0), recursionDesired: (flags & FLAG.recursionDesired) !== 0 }
  const unread = { ...head, question: Buffer.alloc(0), udpBytes: SMALLEST_UDP, edns: false }
  if ((flags & OPCODE_MASK) !== 0) return { ...unread, wrong: 'NOTIMP' }
  const found = message.readUInt16BE(4) === 1 ? readName(message, HEADER_BYTES) : undefined
  if (found === undefined || found.end + 4 > message.length) return { ...unread, wrong: 'FORMERR' }
  const { name, end } = found
  const edns = readEdns(message, end + 4)
  if (edns === 'malformed') return { ...unread, wrong: 'FORMERR' }
  const rest = {
    ...head,
    question: message.subarray(HEADER_BYTES, end + 4),
    udpBytes: Math.min(LARGEST_UDP, Math.max(SMALLEST_UDP, edns?.udpBytes ?? 0)),
    edns: edns !== undefined,
  }
  if (edns !== undefined && edns.version !== 0) return { ...rest, wrong: 'BADVERS' }
  if (message.readUInt16BE(end + 2) !== CLASS_INTERNET) return { ...rest, wrong: 'REFUSED' }
  return { ...rest, name, type: message.readUInt16BE(end) }
}

/** A set that does not fit is left out as a whole and marked: a part of it would be taken for all. */
export function encodeReply(query: Query, { code, answers, authority }: Reply, limit: number): Buffer {
  const edns = query.edns ? ednsRecord(code) : Buffer.alloc(0)
  const whole = HEADER_BYTES + query.question.length + answers.bytes.length + authority.bytes.length + edns.length
  const truncated = whole > limit
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(query.id, 0)
  const flags =
    FLAG.response |
    (code === 'NOERROR' || code === 'NXDOMAIN' ? FLAG.authoritative : 0) |
    (truncated ? FLAG.truncated : 0) |
    (query.recursionDesired ? FLAG.recursionDesired : 0) |
    (RCODE[code] & 0xf)
  header.writeUInt16BE(flags, 2)
  header.writeUInt16BE(query.question.length === 0 ? 0 : 1, 4)
  header.writeUInt16BE(truncated ? 0 : answers.count, 6)
  header.writeUInt16BE(truncated ? 0 : authority.count, 8)
  header.writeUInt16BE(query.edns ? 1 : 0, 10)
  return Buffer.concat(truncated ? [header, query.question, edns] : [header, query.question, answers.bytes, authority.bytes, edns])
}

/** A record of the name that was asked for, unless it says whose it is. */
export function record(type: number, ttlSeconds: number, data: Buffer, owner: Buffer = QUESTION_POINTER): Buffer {
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(type, 0)
  fixed.writeUInt16BE(CLASS_INTERNET, 2)
  fixed.writeUInt32BE(ttlSeconds, 4)
  fixed.writeUInt16BE(data.length, 8)
  return Buffer.concat([owner, fixed, data])
}

export function srvData(weight: number, port: number, target: string): Buffer {
  const fixed = Buffer.alloc(6)
  fixed.writeUInt16BE(weight, 2)
  fixed.writeUInt16BE(port, 4)
  return Buffer.concat([fixed, nameBytes(target)])
}

/** Who answers for a domain, and for how long "there is none" may be believed. */
export function soaRecord(domain: string, negativeTtlSeconds: number): Buffer {
  const times = Buffer.alloc(20)
  for (const [index, value] of [1, 3600, 600, 86_400, negativeTtlSeconds].entries()) times.writeUInt32BE(value, index * 4)
  const data = Buffer.concat([nameBytes(domain), nameBytes(`hostmaster.${domain}`), times])
  return record(TYPE.SOA, negativeTtlSeconds, data, nameBytes(domain))
}

export function section(records: readonly Buffer[]): Section {
  return { count: records.length, bytes: Buffer.concat(records) }
}

/** The OPT record among what follows the question; undefined: the asker knows no EDNS. */
function readEdns(message: Buffer, start: number): { udpBytes: number; version: number } | undefined | 'malformed' {
  const records = [6, 8, 10].reduce((sum, at) => sum + message.readUInt16BE(at), 0)
  let at = start
  for (let index = 0; index < records; index++) {
    const owner = readName(message, at)
    if (owner === undefined || owner.end + 10 > message.length) return 'malformed'
    const { end } = owner
    if (message.readUInt16BE(end) === TYPE.OPT) return { udpBytes: message.readUInt16BE(end + 2), version: message[end + 5]! }
    at = end + 10 + message.readUInt16BE(end + 8)
  }
  return undefined
}

function ednsRecord(code: ResponseCode): Buffer {
  const bytes = Buffer.alloc(11)
  bytes.writeUInt16BE(TYPE.OPT, 1)
  bytes.writeUInt16BE(LARGEST_UDP, 3)
  bytes[5] = RCODE[code] >> 4
  return bytes
}
