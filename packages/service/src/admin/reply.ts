import type { ServerResponse } from 'node:http'

export function reply(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }).end(`${text}\n`)
}

export function replyJson(response: ServerResponse, value: object): void {
  const headers = { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }
  response.writeHead(200, headers).end(JSON.stringify(value, (_key, held: unknown) => (typeof held === 'bigint' ? String(held) : held)))
}
