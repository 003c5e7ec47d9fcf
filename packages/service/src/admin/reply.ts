import type { ServerResponse } from 'node:http'
import { guarded } from '@platform/kernel'

export function reply(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }).end(`${text}\n`)
}

export function replyJson(response: ServerResponse, value: object): void {
  const text = jsonOf(value)
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }).end(text)
}

/** Somebody else's value as a part of a page; what JSON cannot carry (a circle, a getter that throws) is left out and costs nobody the rest. */
export function asJson(value: unknown): unknown {
  return guarded(() => JSON.parse(jsonOf(value)) as unknown)
}

const jsonOf = (value: unknown): string => JSON.stringify(value, (_key, held: unknown) => (typeof held === 'bigint' ? String(held) : held))
