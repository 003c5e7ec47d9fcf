import { hostname } from 'node:os'
import type { Format } from '../format.ts'
import { type ErrorFacts, quote } from '../render.ts'
import { asJsonMember } from './json.ts'

const ecsVersion = '9.2.0'

/** Elastic Common Schema. All free fields stand under `data` (map it as `flattened`), so that they can neither collide nor multiply the mapping. */
export function ecsFormat(name: string, version?: string): Format {
  const release = version === undefined ? '' : `,"service.version":${quote(version)}`
  const base = `,"ecs.version":"${ecsVersion}","service.name":${quote(name)}${release},"process.pid":${process.pid},"host.hostname":${quote(hostname())}`
  return {
    reserved: new Set(['truncated']),
    known: new Map([
      ['request_id', 'http.request.id'],
      ['method', 'http.request.method'],
      ['path', 'url.path'],
    ]),
    ownsError: true,
    member: asJsonMember,
    line({ level, timeMs, span, fields, known, error, errorId, message, renderer }) {
      const trace = span ? `,"trace.id":"${span.traceId}","span.id":"${span.spanId}"` : ''
      const text = message === undefined ? '' : `,"message":${message}`
      const head = `{"@timestamp":"${new Date(timeMs).toISOString()}","log.level":"${level}"${text}${base}${trace}${known}`
      const facts = error ? `${errorFields(error.facts)},"error.id":"${errorId}"` : ''
      const extras = error ? renderer.errorExtras(error.value).slice(1) : ''
      const data = `${fields}${extras === '' ? '' : `,"err":{${extras}}`}${renderer.truncated ? ',"truncated":true' : ''}`.slice(1)
      return `${head}${facts}${data === '' ? '' : `,"data":{${data}}`}}\n`
    },
  }
}

function errorFields({ type, message, code, stack }: ErrorFacts): string {
  const named = [
    ['error.type', type],
    ['error.message', message],
    // Always a text, so that a number of one error does not settle the mapping for all.
    ['error.code', code === undefined || code.startsWith('"') ? code : quote(code)],
    ['error.stack_trace', stack],
  ]
  return named.map(([key, json]) => (json === undefined ? '' : `,"${key}":${json}`)).join('')
}
