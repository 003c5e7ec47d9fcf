import { hostname } from 'node:os'
import type { Format } from '../format.ts'
import { quote } from '../render.ts'

export const asJsonMember: Format['member'] = (renderer, key, value, beside) => renderer.member(key, value, beside)

/** pino's own lines: `level` as a number, `time` in milliseconds, `msg` at the end. */
export function jsonFormat(name: string, version?: string): Format {
  const release = version === undefined ? '' : `,"version":${quote(version)}`
  const base = `,"pid":${process.pid},"hostname":${quote(hostname())},"name":${quote(name)}${release}`
  const ours = ['level', 'time', 'pid', 'hostname', 'name', 'msg', 'trace_id', 'span_id', 'trace_flags', 'truncated', 'error_id']
  return {
    reserved: new Set(version === undefined ? ours : [...ours, 'version']),
    known: new Map(),
    ownsError: false,
    member: asJsonMember,
    line({ levelValue, timeMs, span, fields, message, errorId, renderer }) {
      const trace = span ? `,"trace_id":"${span.traceId}","span_id":"${span.spanId}","trace_flags":"${span.flags}"` : ''
      const text = message === undefined ? '' : `,"msg":${message}`
      const id = errorId === undefined ? '' : `,"error_id":"${errorId}"`
      return `{"level":${levelValue},"time":${timeMs}${base}${trace}${fields}${id}${renderer.truncated ? ',"truncated":true' : ''}${text}}\n`
    },
  }
}
