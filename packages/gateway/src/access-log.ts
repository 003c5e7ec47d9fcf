import { createSocket, type Socket } from 'node:dgram'
import { context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { logFields } from './compile/access-log.ts'
import { instruments } from './instrumentation.ts'
import type { LoggerLike } from './logger-like.ts'

type Line = Record<keyof typeof logFields, string>

const fields = Object.keys(logFields)
const roomBytes = 4_194_304

/** What the answers of one configuration were. */
export interface Tally {
  readonly all: number
  readonly failed: number
}

/**
 * nginx tells of each request in a datagram, which never holds it up: what comes while nobody listens, or too fast, is lost. Becomes a line of
 * the log, a line of the audit where somebody was asked for, and a sample of the duration.
 */
export class AccessLog {
  readonly #logger: LoggerLike
  readonly #audit: LoggerLike
  #socket: Socket | undefined
  #tallies = new Map<string, { all: number; failed: number }>()

  constructor(logger: LoggerLike, audit: LoggerLike) {
    this.#logger = logger
    this.#audit = audit
  }

  /** Resolves with the port. */
  async listen(): Promise<number> {
    const socket = createSocket('udp4')
    await new Promise<void>((resolve, reject) => void socket.once('error', reject).bind(0, '127.0.0.1', resolve))
    try {
      socket.setRecvBufferSize(roomBytes)
    } catch {
      // The system grants less.
    }
    socket.on('error', (error) => this.#logger.error({ reason: error.message }, 'the access log cannot be received'))
    socket.on('message', (message) => this.#take(message))
    this.#socket = socket
    return socket.address().port
  }

  tally(generation: string): Tally {
    return this.#tallies.get(generation) ?? { all: 0, failed: 0 }
  }

  /** Counts of other configurations are dropped. */
  keepTallies(generations: readonly string[]): void {
    for (const name of this.#tallies.keys()) if (!generations.includes(name)) this.#tallies.delete(name)
  }

  async close(): Promise<void> {
    const socket = this.#socket
    this.#socket = undefined
    if (socket !== undefined) await new Promise<void>((resolve) => void socket.close(() => resolve()))
  }

  #take(message: Buffer): void {
    const line = parse(message)
    if (line === undefined) {
      instruments().unreadLines.add(1)
      return
    }
    const status = Number(line.status)
    this.#count(line.generation, status)
    // As if it were said in the request's span: the logger then adds the ids of the trace.
    const spanContext = { traceId: line.id, spanId: line.span, traceFlags: Number(line.sampled), isRemote: true }
    context.with(trace.setSpanContext(ROOT_CONTEXT, spanContext), () => this.#tell(line, status))
  }

  #tell(line: Line, status: number): void {
    instruments().duration.record(Number(line.seconds), {
      'http.request.method': line.method,
      'http.route': line.route || 'none',
      'http.response.status_code': status,
    })
    instruments().traces.add(1, { sampled: line.sampled === '01' ? 'true' : 'false' })
    this.#logger.info(fieldsOf(line, status), 'request')
    if (line.verdict !== '') this.#audit.info(auditOf(line, status), 'access')
  }

  #count(generation: string, status: number): void {
    const tally = this.#tallies.get(generation) ?? { all: 0, failed: 0 }
    this.#tallies.set(generation, tally)
    tally.all++
    if (status >= 500) tally.failed++
  }
}

/** `<190>Nov 26 00:00:00 gateway: {…}` */
function parse(message: Buffer): Line | undefined {
  const start = message.indexOf('{')
  if (start === -1) return undefined
  try {
    const value = JSON.parse(message.toString('utf8', start)) as Record<string, unknown>
    return fields.every((field) => typeof value[field] === 'string') ? (value as Line) : undefined
  } catch {
    return undefined
  }
}

function fieldsOf(line: Line, status: number): object {
  return {
    request_id: line.id,
    route: line.route,
    method: line.method,
    host: line.host,
    path: line.path,
    protocol: line.protocol,
    status,
    bytes: Number(line.bytes),
    durationMs: milliseconds(line.seconds),
    client: line.client,
    agent: line.agent,
    upstream: line.upstream,
    upstreamStatus: line.upstreamStatus,
    upstreamMs: milliseconds(line.upstreamSeconds),
    ...(line.verdict === '' ? {} : { verdict: line.code, authMs: Number(line.authMs) }),
  }
}

function auditOf(line: Line, status: number): object {
  const { id, subject, client, method, route, path, code } = line
  return { request_id: id, subject, client, method, route, path, outcome: code, status }
}

/** Of several tries the sum. */
function milliseconds(seconds: string): number | undefined {
  const tries = seconds.split(/[,:]/).map(Number).filter(Number.isFinite)
  return tries.length === 0 || seconds === '' ? undefined : Math.round(tries.reduce((sum, each) => sum + each, 0) * 1000)
}
