import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { createDiscovery, type ServiceClientOptions, type ServiceRequestInit } from './index.ts'
import { staticInstances } from './registries/static.ts'

async function shop() {
  let answered = 0
  const server = createServer((request, response) =>
    request.resume().on('end', () => {
      response.setHeader('x-authorization', request.headers.authorization ?? 'none')
      response.end(String(++answered))
    }),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const discovery = createDiscovery({ registry: staticInstances({ shop: [`http://127.0.0.1:${port}`, `http://localhost:${port}`] }) })
  onTestFinished(async () => {
    await discovery.close({ timeoutMs: 1000 })
    server.close()
  })
  return { discovery, answered: () => answered }
}

const broken = new Error('no token')

it.each<[string, ServiceClientOptions, ServiceRequestInit, unknown]>([
  [
    'a hook that throws',
    {
      outbound: [
        () => {
          throw broken
        },
      ],
    },
    {},
    broken,
  ],
  ['a hook that sets a header that is none', { outbound: [(headers) => void (headers['no header'] = 'x')] }, {}, expect.any(TypeError)],
  ['a body where none may be', {}, { method: 'GET', body: 'x' }, expect.any(TypeError)],
])('%s is no instance’s fault, and is not tried again', async (_, options, init, expected) => {
  const { discovery, answered } = await shop()
  let attempts = 0
  const client = discovery.client('shop', { ...options, outbound: [() => void attempts++, ...(options.outbound ?? [])] })
  await client.ready()
  for (let i = 0; i < 12; i++) {
    expect(await client.fetch('/', init).catch((error: unknown) => error)).toEqual(expected)
  }
  expect(attempts).toBe(12)
  expect(answered()).toBe(0)
  expect(client.explain().map(({ reason }) => reason)).toEqual(['in use', 'in use'])
})

it('a hook may take its time, and one that hangs is no instance’s fault', async () => {
  const { discovery, answered } = await shop()
  const slow = discovery.client('shop', {
    outbound: [
      async (headers) => {
        await new Promise((resolve) => setTimeout(resolve, 20))
        headers['authorization'] = 'Bearer late'
      },
    ],
  })
  expect((await slow.fetch('/')).headers.get('x-authorization')).toBe('Bearer late')
  const before = answered()
  const hung = discovery.client('shop', {
    policy: { attemptTimeoutMs: 20 },
    outbound: [() => new Promise(() => {})],
    maxConcurrentPerInstance: 1,
  })
  for (let i = 0; i < 12; i++) {
    expect(await hung.fetch('/').catch((error: unknown) => error)).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT' })
  }
  expect(answered()).toBe(before)
  expect(hung.explain().map(({ reason }) => reason)).toEqual(['in use', 'in use'])
})

it('a body of the caller that fails while it is sent is no instance’s fault', async () => {
  const { discovery } = await shop()
  const client = discovery.client('shop', { policy: { breaker: { minimumThroughput: 2 } } })
  const failing = (): ServiceRequestInit => ({
    method: 'POST',
    body: ReadableStream.from(
      (async function* () {
        yield Buffer.from('first')
        throw broken
      })(),
    ),
  })
  for (let i = 0; i < 12; i++) {
    expect(await client.fetch('/', failing()).catch((error: unknown) => error)).toMatchObject({ cause: broken })
  }
  expect(client.explain().map(({ reason }) => reason)).toEqual(['in use', 'in use'])
  const whole = ReadableStream.from([Buffer.from('a'), Buffer.from('b')])
  expect((await client.fetch('/', { method: 'POST', body: whole })).status).toBe(200)
})
