/**
 * One logger in a process of its own: `node logger.ts <name> write|compose [quick]` prints the CPU time of a line with ten fields, of which four must
 * not show, in µs. `write` goes to /dev/null, `compose` to nothing at all. Throws when a secret shows, or when a field is missing.
 */
import { openSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { configureSync, getLogger, jsonLinesFormatter, type LogRecord } from '@logtape/logtape'
import { redactByField } from '@logtape/redaction'
import { createLogger, type LogFormat } from '@platform/logger'
import { pino } from 'pino'
import winston from 'winston'

type Emit = (text: string) => void
type Log = (index: number) => void

const secret = 'hunter2'
const fieldsOf = (index: number) => ({
  request_id: `5d3f0a2e-${index}`,
  method: 'GET',
  path: '/films/17',
  status: 200,
  duration_ms: 3.25,
  user: { id: index, name: 'Ann', password: secret },
  headers: { host: 'films.example', authorization: `Bearer ${secret}${secret}`, cookie: `sid=${secret}` },
  token: secret,
  attempt: 1,
  cached: true,
})
const message = 'request completed'
const secretKeys = ['password', 'authorization', 'cookie', 'token']

/** The same duty as ours, as people write it: a walk over what is logged. */
function redacted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(redacted)
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, secretKeys.includes(key) ? '[redacted]' : redacted(each)]))
}

function ours(emit: Emit, format: LogFormat): Log {
  const stream = { writable: true, on: () => stream, off: () => stream, write: (text: string) => (emit(text), true) }
  const logger = createLogger({ name: 'bench', format, destination: stream as unknown as NodeJS.WritableStream })
  return (index) => logger.info(fieldsOf(index), message)
}

function bare(emit: Emit, options: object = {}): Log {
  const logger = pino({ name: 'bench', ...options }, { write: emit })
  return (index) => logger.info(fieldsOf(index), message)
}

function winstonLogger(emit: Emit): Log {
  const walk = winston.format((info) => Object.assign(info, redacted(info)))
  const stream = new Writable({ decodeStrings: false, write: (text: string, _encoding, done) => (emit(text), done()) })
  const format = winston.format.combine(walk(), winston.format.timestamp(), winston.format.json())
  const logger = winston.createLogger({ format, transports: [new winston.transports.Stream({ stream })] })
  return (index) => void logger.info(message, fieldsOf(index))
}

function logtape(emit: Emit): Log {
  const sink = redactByField((record: LogRecord) => emit(jsonLinesFormatter(record)), {
    fieldPatterns: secretKeys,
    action: () => '[redacted]',
  })
  configureSync({
    sinks: { sink },
    loggers: [
      { category: 'bench', sinks: ['sink'], lowestLevel: 'info' },
      { category: ['logtape', 'meta'], sinks: [] },
    ],
  })
  const logger = getLogger('bench')
  return (index) => logger.info(message, fieldsOf(index))
}

const paths = secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`])
const loggers: Record<string, (emit: Emit) => Log> = {
  ours: (emit) => ours(emit, 'json'),
  'ours, ECS': (emit) => ours(emit, 'ecs'),
  'pino, nothing hidden': (emit) => bare(emit),
  'pino, redact': (emit) => bare(emit, { redact: { paths, censor: '[redacted]' } }),
  winston: winstonLogger,
  LogTape: logtape,
}

const [name = '', mode = 'write', pace = ''] = process.argv.slice(2)
const make = loggers[name]
if (make === undefined) throw new Error(`no logger ${name}`)
const fd = openSync('/dev/null', 'w')
let first = ''
let count = 0
const log = make((text) => {
  if (count++ === 0) first = text
  if (mode === 'write') writeSync(fd, text)
})
log(0)
for (const part of ['request_id', 'films.example', 'Ann', message])
  if (!first.includes(part)) throw new Error(`${name} left out ${part}: ${first}`)
if (first.includes(secret) !== (name === 'pino, nothing hidden')) throw new Error(`${name} shows a secret: ${first}`)

const lines = pace === 'quick' ? 30_000 : 150_000
const run = async (times: number): Promise<void> => {
  for (let index = 0; index < times; index++) {
    log(index)
    // Loggers that write later are given the time to.
    if (index % 1_000 === 999) await new Promise(setImmediate)
  }
}
await run(lines / 3)
const before = process.cpuUsage()
await run(lines)
const { user, system } = process.cpuUsage(before)
if (count < lines) throw new Error(`${name} wrote ${count} lines of ${lines}`)
console.log(JSON.stringify({ cpuUs: (user + system) / lines }))
