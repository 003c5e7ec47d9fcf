import { isatty } from 'node:tty'
import type { Format } from '../format.ts'
import { type ErrorFacts, isError, readMember, type Renderer } from '../render.ts'

const colours: Readonly<Record<string, number>> = { trace: 90, debug: 36, info: 32, warn: 33, error: 31, fatal: 35 }
/** What moves a cursor, starts a sequence or turns the direction of text; JSON has escaped the rest. */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g // oxlint-disable-line no-control-regex
const simple = /^"[\w./:@-]+"$/
const placedApart = new Set(['cause', 'errors'])
const deepestCause = 8

/** Text for people. Whatever is logged cannot start a line or colour one: control characters are written as `\u000a`. */
export function prettyFormat(name: string, destination: unknown): Format {
  const hasColour = typeof destination === 'number' && isatty(destination) && !process.env['NO_COLOR']
  const paint = (text: string, colour: number) => (hasColour ? `\u001b[${colour}m${text}\u001b[39m` : text)
  return {
    reserved: new Set(['level', 'time', 'pid', 'hostname', 'name', 'msg', 'truncated', 'error_id']),
    known: new Map(),
    ownsError: true,
    member(renderer, key, value, beside) {
      const json = renderer.memberValue(key, value, beside)
      return json === undefined ? '' : ` ${paint(`${shown(renderer.name(key))}=`, 90)}${shown(json)}`
    },
    line({ level, timeMs, span, fields, message, error, errorId, renderer }) {
      const time = new Date(timeMs).toISOString().slice(11, 23)
      const label = paint(level.toUpperCase().padEnd(5), colours[level] ?? 37)
      const trace = span ? ` ${paint('trace_id=', 90)}${span.traceId} ${paint('span_id=', 90)}${span.spanId}` : ''
      const lines = error === undefined ? '' : `\n${errorLines(error.value, error.facts, renderer, '    ', 0)}`
      const cut = renderer.truncated ? ` ${paint('truncated=', 90)}true` : ''
      const id = errorId === undefined ? '' : ` ${paint('error_id=', 90)}${errorId}`
      return `${time} ${label} ${safe(name)}: ${message === undefined ? '' : safe(text(message))}${trace}${fields}${id}${cut}${lines}\n`
    },
  }
}

function safe(line: string): string {
  return line.replace(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** JSON as people read it: a plain word without its quotes. */
function shown(json: string): string {
  return simple.test(json) ? json.slice(1, -1) : safe(json)
}

function text(json: string): string {
  return JSON.parse(json) as string
}

function errorLines(error: Error, facts: ErrorFacts, renderer: Renderer, indent: string, depth: number): string {
  const { type, message, code, stack } = facts
  const title = stack?.startsWith('"') ? text(stack) : `${text(type ?? '"Error"')}: ${message?.startsWith('"') ? text(message) : ''}`
  const lines = title.split('\n').map((line) => `${indent}${safe(line)}`)
  const members = renderer.membersOf(error)
  const extras = members.keys.filter((key) => !placedApart.has(key) && !['type', 'message', 'code', 'stack', 'name'].includes(key))
  const others = extras.map((key) => [key, renderer.memberValue(key, readMember(error, key), members)] as const)
  const told = [['code', code] as const, ...others].filter(([, json]) => json !== undefined)
  if (told.length > 0) lines.push(`${indent}  ${told.map(([key, json]) => `${safe(key)}=${shown(json!)}`).join(' ')}`)
  const cause = readMember(error, 'cause')
  if (cause !== undefined) lines.push(`${indent}caused by`, inner(cause, renderer, `${indent}  `, depth))
  const errors = readMember(error, 'errors')
  for (const each of Array.isArray(errors) ? errors : []) lines.push(`${indent}gathered`, inner(each, renderer, `${indent}  `, depth))
  return lines.join('\n')
}

function inner(value: unknown, renderer: Renderer, indent: string, depth: number): string {
  if (isError(value) && depth < deepestCause) return errorLines(value, renderer.errorFacts(value), renderer, indent, depth + 1)
  return `${indent}${shown(renderer.value(value) ?? 'undefined')}`
}
