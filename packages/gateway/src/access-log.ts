import { context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { logFields } from './compile/access-log.ts'
import { instruments } from './instrumentation.ts'
import type { LoggerLike } from './logger-like.ts'

type Line = Record<keyof typeof logFields, string>

const fields = Object.keys(logFields)
/** A client may invent any number of others. */
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE'])

/** What the answers by one file of routes were. */
export interface Tally {
  readonly all: number
  readonly failed: number
}

/** What nginx tells of each request becomes a line of the log, a line of the audit where somebody was asked for, and a sample of the duration. */
export class AccessLog {
  readonly #logger: LoggerLike
  readonly #audit: LoggerLike
  #tallies = new Map<string, { all: number; failed: number }>()

  constructor(logger: LoggerLike, audit: LoggerLike) {
    this.#logger = logger
    this.#audit = audit
  }

  /** Whole lines. What is counted is counted once for all of them. */
  take(text: string): void {
    const lines = text.split('\n')
    const verdicts = new Map<string, { route: string; outcome: string; count: number }>()
    const traces = { true: 0, false: 0 }
    let unread = 0
    for (let place = 0; place < lines.length - 1; place++) {
      const line = parse(lines[place]!)
      if (line === undefined) {
        unread++
        continue
      }
      const status = Number(line.status)
      this.#count(line.revision, status)
      traces[line.sampled === '01' ? 'true' : 'false']++
      if (line.verdict !== '') addTo(verdicts, line.route, line.code)
      // As if it were said in the request's span: the logger then adds the ids of the trace.
      const spanContext = { traceId: line.id, spanId: line.span, traceFlags: Number(line.sampled), isRemote: true }
      context.with(trace.setSpanContext(ROOT_CONTEXT, spanContext), () => this.#tell(line, status))
    }
    const { traces: begun, verdicts: given, unreadLines } = instruments()
    if (traces.true > 0) begun.add(traces.true, { sampled: 'true' })
    if (traces.false > 0) begun.add(traces.false, { sampled: 'false' })
    for (const { route, outcome, count } of verdicts.values()) given.add(count, { route, outcome })
    if (unread > 0) unreadLines.add(unread)
  }

  tally(revision: string): Tally {
    return this.#tallies.get(revision) ?? { all: 0, failed: 0 }
  }

  /** Counts of other files are dropped. */
  keepTallies(revisions: readonly string[]): void {
    for (const name of this.#tallies.keys()) if (!revisions.includes(name)) this.#tallies.delete(name)
  }

  #tell(line: Line, status: number): void {
    instruments().duration.record(Number(line.seconds), {
      'http.request.method': knownMethods.has(line.method) ? line.method : '_OTHER',
      'http.route': line.route || 'none',
      'http.response.status_code': status,
    })
    this.#logger.info(fieldsOf(line, status), 'request')
    if (line.verdict !== '') this.#audit.info(auditOf(line, status), 'access')
  }

  #count(revision: string, status: number): void {
    const tally = this.#tallies.get(revision) ?? { all: 0, failed: 0 }
    this.#tallies.set(revision, tally)
    tally.all++
    if (status >= 500) tally.failed++
  }
}

function addTo(verdicts: Map<string, { route: string; outcome: string; count: number }>, route: string, outcome: string): void {
  const key = `${route} ${outcome}`
  const known = verdicts.get(key)
  if (known === undefined) verdicts.set(key, { route, outcome, count: 1 })
  else known.count++
}

function parse(text: string): Line | undefined {
  const values = text.split('\t')
  if (values.length !== fields.length) return undefined
  const line: Record<string, string> = {}
  try {
    for (let place = 0; place < fields.length; place++) {
      const value = values[place]!
      line[fields[place]!] = value.includes('\\') ? (JSON.parse(`"${value}"`) as string) : value
    }
  } catch {
    return undefined
  }
  return line as Line
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
    ...triesOf(line),
    ...(line.verdict === '' ? {} : { verdict: line.code, authMs: Number(line.authMs) }),
  }
}

/** Of the last try; all of them where there were several. An address by itself has nothing that a redactor must look at twice. */
function triesOf({ upstream, upstreamStatus, upstreamSeconds }: Line): object {
  if (upstream === '') return {}
  const last = upstream.slice(upstream.lastIndexOf(' ') + 1)
  const colon = last.lastIndexOf(':')
  const port = Number(last.slice(colon + 1))
  return {
    ...(colon === -1 || Number.isNaN(port) ? { upstream: last } : { upstream: last.slice(0, colon), upstreamPort: port }),
    upstreamStatus,
    upstreamMs: milliseconds(upstreamSeconds),
    ...(last === upstream ? {} : { tries: upstream }),
  }
}

function auditOf(line: Line, status: number): object {
  const { id, subject, client, method, route, path, code } = line
  return { request_id: id, subject, client, method, route, path, outcome: code, status }
}

/** Of several tries the sum. */
function milliseconds(seconds: string): number | undefined {
  const simple = Number(seconds)
  if (seconds !== '' && Number.isFinite(simple)) return Math.round(simple * 1000)
  const tries = seconds.split(/[,:]/).map(Number).filter(Number.isFinite)
  return tries.length === 0 || seconds === '' ? undefined : Math.round(tries.reduce((sum, each) => sum + each, 0) * 1000)
}
