import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { httpServer } from './index.ts'

async function serving(serves: readonly string[] | undefined) {
  let handled = 0
  const server = createServer((_, response) => {
    handled++
    response.end('ok')
  })
  const http = httpServer(server, { port: 0, host: '127.0.0.1', minDrainMs: 0, serves })
  onTestFinished(() => http.close({ timeoutMs: 1000 }))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const ask = async (service: string | undefined): Promise<number> => {
    const headers = service === undefined ? {} : { 'x-platform-service': service }
    const response = await fetch(url, { method: 'POST', body: 'x'.repeat(100_000), headers })
    await response.text()
    return response.status
  }
  return { ask, handled: () => handled, stats: () => http.stats() }
}

it('a request that says it is for another service is refused and not handled', async () => {
  const { ask, handled, stats } = await serving(['catalog', 'catalog-v2'])
  expect([await ask('catalog'), await ask('catalog-v2'), await ask(undefined)]).toEqual([200, 200, 200])
  expect([await ask('orders'), await ask('catalog-v3'), await ask('')]).toEqual([421, 421, 421])
  expect(handled()).toBe(3)
  expect(stats().inFlight).toBe(0)
})

it('without names all are handled', async () => {
  const { ask, handled } = await serving(undefined)
  expect([await ask('orders'), handled()]).toEqual([200, 1])
})

it.each([[[]], [['']], ['catalog'], [[1]]])('refuses %j for names', (serves) => {
  expect(() => httpServer(createServer(), { port: 0, serves: serves as string[] })).toThrow(
    expect.objectContaining({ code: 'ERR_SERVICE_OPTION', message: 'serves must be a list of names' }) as Error,
  )
})
