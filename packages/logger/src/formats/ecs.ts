import { hostname } from 'node:os'
import type { Format } from '../format.ts'
import { quote } from '../render.ts'

const ecsVersion = '9.2.0'
const inErrorFields = new Set(['type', 'message', 'code', 'stack'])

/** Elastic Common Schema. All free fields stand under `data` (map it as `flattened`), so that they can neither collide nor multiply the mapping. */
export function ecsFormat(name: string): Format {
  const base = `,"ecs.version":"${ecsVersion}","service.name":${quote(name)},"process.pid":${process.pid},"host.hostname":${quote(hostname())}`
  return {
    reserved: new Set(),
    known: new Map([
      ['request_id', 'http.request.id'],
      ['method', 'http.request.method'],
      ['path', 'url.path'],
    ]),
    ownsError: true,
    line({ level, timeMs, span, fields, known, error, message, renderer }) {
      const trace = span ? `,"trace.id":"${span.traceId}","span.id":"${span.spanId}"` : ''
      const text = message === undefined ? '' : `,"message":${message}`
      const rest = error ? renderer.errorMembers(error, inErrorFields).slice(1) : ''
      const data = `${fields}${rest === '' ? '' : `,"err":{${rest}}`}${renderer.truncated ? ',"truncated":true' : ''}`.slice(1)
      const head = `{"@timestamp":"${new Date(timeMs).toISOString()}","log.level":"${level}"${text}${base}`
      return `${head}${trace}${known}${error ? errorFields(error, renderer) : ''}${data === '' ? '' : `,"data":{${data}}`}}\n`
    },
  }
}

function errorFields(error: Error, renderer: Parameters<Format['line']>[0]['renderer']): string {
  const members = JSON.parse(`{${renderer.errorMembers(error, new Set()).slice(1)}}`) as Record<string, unknown>
  const named = [
    ['error.type', members['type']],
    ['error.message', members['message']],
    ['error.code', members['code'] === undefined ? undefined : text(members['code'])],
    ['error.stack_trace', members['stack']],
  ]
  return named.map(([key, value]) => (value === undefined ? '' : `,"${String(key)}":${JSON.stringify(value)}`)).join('')
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
