import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { logContextHook } from './index.ts'
import { kept } from './testing/kept-logger.ts'

it('the first request of a server that leaves its events alone has its context, also beside servers that carry it', async () => {
  const { logger, lines } = kept()
  const closed = Promise.withResolvers<void>()
  await using server = createServer((incoming, response) => {
    const { method = '', url = '', headers } = incoming
    const carriesContext = url === '/carried'
    logContextHook({ method, url, headers, carriesContext }, () => {
      if (carriesContext) return void response.end()
      response.on('close', () => (logger.info('close'), closed.resolve()))
      incoming.resume().on('end', () => (logger.info('end'), response.end()))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (let count = 0; count < 3; count++) await (await fetch(`${url}/carried`)).text()
  await (await fetch(url, { method: 'POST', body: 'x', headers: { 'x-request-id': 'r-1' } })).text()
  await closed.promise
  expect(lines().map((line) => [line['msg'], line['request_id']])).toEqual([
    ['end', 'r-1'],
    ['close', 'r-1'],
  ])
})
