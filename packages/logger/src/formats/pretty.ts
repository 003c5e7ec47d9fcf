import { isatty } from 'node:tty'
import type { Format } from '../format.ts'
import { jsonFormat } from './json.ts'

const colours: Readonly<Record<string, number>> = { trace: 90, debug: 36, info: 32, warn: 33, error: 31, fatal: 35 }
/** What moves a cursor, starts a sequence or turns the direction of text. */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g // oxlint-disable-line no-control-regex

/** Text for people. Whatever is logged cannot start a line or colour one: control characters are written as `\u000a`. */
export function prettyFormat(name: string, destination: unknown): Format {
  const hasColour = typeof destination === 'number' && isatty(destination) && !process.env['NO_COLOR']
  const json = jsonFormat(name)
  const paint = (text: string, colour: number) => (hasColour ? `\u001b[${colour}m${text}\u001b[39m` : text)
  return {
    ...json,
    line(parts) {
      const {
        level: _level,
        time: _time,
        pid: _pid,
        hostname: _host,
        name: _name,
        msg,
        err,
        ...fields
      } = JSON.parse(json.line(parts)) as Record<string, unknown>
      const time = new Date(parts.timeMs).toISOString().slice(11, 23)
      const label = paint(parts.level.toUpperCase().padEnd(5), colours[parts.level] ?? 37)
      const rest = Object.entries(fields).map(([key, value]) => ` ${paint(`${safe(key)}=`, 90)}${plain(value)}`)
      const error = err === undefined ? '' : `\n${errorLines(err, '    ')}`
      return `${time} ${label} ${safe(name)}: ${typeof msg === 'string' ? safe(msg) : ''}${rest.join('')}${error}\n`
    },
  }
}

function safe(text: string): string {
  return text.replace(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function plain(value: unknown): string {
  return safe(typeof value === 'string' && /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value))
}

function errorLines(error: unknown, indent: string): string {
  if (typeof error !== 'object' || error === null) return `${indent}${plain(error)}`
  const { type, message, stack, code, cause, errors, ...rest } = error as Record<string, unknown>
  const title = typeof stack === 'string' ? stack : `${String(type)}: ${String(message)}`
  const lines = title.split('\n').map((line) => `${indent}${safe(line)}`)
  const facts = Object.entries({ ...(code === undefined ? {} : { code }), ...rest }).map(([key, value]) => `${safe(key)}=${plain(value)}`)
  if (facts.length > 0) lines.push(`${indent}  ${facts.join(' ')}`)
  if (cause !== undefined) lines.push(`${indent}caused by`, errorLines(cause, `${indent}  `))
  for (const inner of Array.isArray(errors) ? errors : []) lines.push(`${indent}gathered`, errorLines(inner, `${indent}  `))
  return lines.join('\n')
}
