import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { createShopfront, type Shopfront } from './shopfront.ts'

const servers: Server[] = []
let front: Shopfront | undefined
afterEach(async () => {
  await front?.close()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

/** An instance that always gives this answer; without one it hangs up. */
function instance(status?: number, text = '{}'): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer((request, answer) => {
      if (status === undefined) request.socket.destroy()
      else answer.writeHead(status).end(text)
    })
    servers.push(server)
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  })
}

async function visits(urls: readonly string[], count = 4): Promise<number[]> {
  front = createShopfront(urls)
  const seen: number[] = []
  for (let visit = 0; visit < count; visit++) seen.push((await front.request('/')).status)
  return seen
}

it.each([400, 404, 500, 501, 505])('hands a %d to the customer, as a gateway does', async (status) => {
  expect(await visits([await instance(200), await instance(status)])).toEqual([200, status, 200, status])
  expect(front?.stats()).toEqual({ requests: 4, passedOver: 0, passes: {} })
})

it.each([
  [502, '502'],
  [503, '503'],
  [504, '504'],
  [undefined, 'no answer'],
])('passes over %s, and counts it', async (status, cause) => {
  expect(await visits([await instance(200), await instance(status)])).toEqual([200, 200, 200, 200])
  expect(front?.stats()).toEqual({ requests: 4, passedOver: 3, passes: { [cause]: 3 } })
})

it('hands on what is no JSON', async () => {
  front = createShopfront([await instance(200, 'Internal error')])
  expect(await front.request('/')).toEqual({ status: 200, body: 'Internal error' })
})
