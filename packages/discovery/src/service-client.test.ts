import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { retryBudget } from '@platform/resilience'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { backend, clientOf, deadUrl, quick, settled, status, statusOf } from './backends.fixture.ts'
import { type ServiceClientOptions } from './index.ts'

afterEach(() => void vi.useRealTimers())

describe('fetch', () => {
  it('sends what it is given and resolves for every status', async () => {
    let body = ''
    const { url, requests } = await backend((request, response) => {
      request.on('data', (chunk) => (body += String(chunk))).on('end', () => response.writeHead(404, { 'x-answer': '1' }).end('gone'))
    })
    const response = await clientOf([url]).fetch('/films/1?q=a', {
      method: 'POST',
      body: '{"a":1}',
      headers: { 'content-type': 'application/json' },
    })
    expect([response.status, response.headers.get('x-answer'), await response.text()]).toEqual([404, '1', 'gone'])
    expect([requests[0]!.method, requests[0]!.url, requests[0]!.headers['content-type'], body]).toEqual([
      'POST',
      '/films/1?q=a',
      'application/json',
      '{"a":1}',
    ])
  })

  it('sends a FormData of the runtime as a form', async () => {
    let body = ''
    const { url, requests } = await backend((request, response) => {
      request.on('data', (chunk) => (body += String(chunk))).on('end', () => response.end())
    })
    const form = new FormData()
    form.append('title', 'Metropolis')
    await statusOf(clientOf([url]).fetch('/', { method: 'POST', body: form }))
    expect(requests[0]!.headers['content-type']).toMatch('multipart/form-data')
    expect(body).toContain('Metropolis')
  })

  it('runs the outbound hooks for each attempt and follows no redirect', async () => {
    let calls = 0
    const { url, requests } = await backend((_, response) =>
      calls++ === 0 ? response.writeHead(503).end() : response.writeHead(302, { location: '/other' }).end(),
    )
    let hooks = 0
    const client = clientOf([url], { policy: quick, outbound: [(headers) => void (headers['x-hook'] = String(++hooks))] })
    expect(await statusOf(client.fetch('/'))).toBe(302)
    expect(requests.map(({ headers }) => headers['x-hook'])).toEqual(['1', '2'])
    expect(await settled(client.fetch('/', { redirect: 'follow' }))).toMatchObject({
      code: 'ERR_DISCOVERY_OPTION',
      option: 'redirect',
    })
  })

  it('rejects when there is no instance, and when it is closed', async () => {
    const client = clientOf([])
    expect(await settled(client.fetch('/'))).toMatchObject({ code: 'ERR_DISCOVERY_NO_INSTANCE', service: 'shop' })
    expect(await settled(client.ready())).toMatchObject({ code: 'ERR_DISCOVERY_NO_INSTANCE' })
    await client.close()
    expect(await settled(client.fetch('/'))).toMatchObject({ code: 'ERR_DISCOVERY_CLOSED' })
  })

  it.each([[{ policy: { tries: 3 } }], [{ balancer: 'random' }], [{ outbound: ['x'] }], [{ retries: 1 }]])(
    'refuses wrong options: %j',
    (options) => {
      expect(() => clientOf([], options as unknown as ServiceClientOptions)).toThrow(
        expect.objectContaining({ code: expect.stringContaining('_OPTION') as string }),
      )
    },
  )
})

describe('retry', () => {
  it('goes to another instance for idempotent requests', async () => {
    const [bad, good] = [await backend(status(503)), await backend()]
    const client = clientOf([bad.url, good.url], { policy: { retry: { maxAttempts: 2, initialDelayMs: 1 } }, balancer: 'round-robin' })
    const answers = await Promise.all(Array.from({ length: 10 }, () => statusOf(client.fetch('/', { method: 'PUT', body: 'x' }))))
    expect(answers).toEqual(Array.from({ length: 10 }, () => 200))
    expect(bad.requests.length).toBeGreaterThan(0)
  })

  it('sends a POST again only when the caller says so or when it was never sent', async () => {
    const bad = await backend(status(503))
    const client = clientOf([bad.url], { policy: quick })
    expect(await statusOf(client.fetch('/', { method: 'POST', body: 'x' }))).toBe(503)
    expect(bad.requests).toHaveLength(1)
    expect(await statusOf(client.fetch('/', { method: 'POST', body: 'x', idempotent: true }))).toBe(503)
    expect(bad.requests).toHaveLength(4)
    expect(await statusOf(client.fetch('/', { method: 'POST', body: 'x', headers: { 'Idempotency-Key': 'k' } }))).toBe(503)
    expect(bad.requests).toHaveLength(7)
    expect(await statusOf(client.fetch('/', { idempotent: false }))).toBe(503)
    expect(bad.requests).toHaveLength(8)

    const cut = await backend((request) => request.socket.destroy())
    expect(await settled(clientOf([cut.url], { policy: quick }).fetch('/', { method: 'POST', body: 'x' }))).toBeInstanceOf(TypeError)
    expect(cut.requests).toHaveLength(1)

    const good = await backend()
    const half = clientOf([await deadUrl(), good.url], { policy: quick, balancer: 'round-robin' })
    for (let i = 0; i < 4; i++) expect(await statusOf(half.fetch('/', { method: 'POST', body: 'x' }))).toBe(200)
  })

  it('never sends a stream twice', async () => {
    const bad = await backend((request, response) => request.resume().on('end', () => response.writeHead(503).end()))
    const body = new Blob(['a', 'b']).stream()
    expect(await statusOf(clientOf([bad.url], { policy: quick }).fetch('/', { method: 'PUT', body }))).toBe(503)
    expect(bad.requests).toHaveLength(1)
  })

  it('lets go of the answers that it does not hand out', async () => {
    let open = 0
    // Kept from the garbage collector, which would let go of them as well.
    const held: unknown[] = []
    let calls = 0
    const { url } = await backend((_, response) => {
      open++
      response.on('close', () => open--)
      const failing = ++calls % 3 !== 0
      response.writeHead(failing ? 503 : 200).end(failing ? Buffer.alloc(8_000_000) : 'ok')
    })
    const retry = { ...quick.retry, budget: retryBudget() }
    const client = clientOf([url], { policy: { ...quick, retry, onRetry: ({ outcome }) => held.push(outcome) } })
    for (let i = 0; i < 5; i++) expect(await statusOf(client.fetch('/'))).toBe(200)
    expect(calls).toBe(15)
    await vi.waitFor(() => expect(open).toBe(0), 10_000)
    expect(held).toHaveLength(10)
  })
})

describe('abort and timeout', () => {
  it("rejects with the caller's reason while waiting and while the body is read, and blames no instance", async () => {
    const silent = await backend((request, response) => void (request.url === '/body' && response.write('begin')))
    const client = clientOf([silent.url])
    for (let i = 0; i < 6; i++) {
      const controller = new AbortController()
      const call = settled(client.fetch('/', { signal: controller.signal }))
      await vi.waitFor(() => expect(silent.requests).toHaveLength(i + 1), 10_000)
      controller.abort('left')
      expect(await call).toBe('left')
    }
    expect(client.explain()[0]).toMatchObject({ reason: 'in use', share: 1 })
    const controller = new AbortController()
    const response = await client.fetch('/body', { signal: controller.signal })
    const body = settled(response.text())
    controller.abort('left')
    expect(await body).toBe('left')
  })

  it('ends an attempt at its timeout and takes another instance', async () => {
    const [silent, good] = [await backend(() => {}), await backend()]
    const client = clientOf([silent.url, good.url], {
      policy: { attemptTimeoutMs: 300, retry: { maxAttempts: 3, initialDelayMs: 1 } },
      balancer: 'round-robin',
    })
    for (let i = 0; i < 4; i++) expect(await statusOf(client.fetch('/'))).toBe(200)
    expect(silent.requests.length).toBeGreaterThan(0)
    expect(await settled(clientOf([silent.url], { policy: { timeoutMs: 100 } }).fetch('/'))).toMatchObject({
      code: 'ERR_RESILIENCE_TIMEOUT',
    })
  })
})

describe('close', () => {
  it('lets requests end within the timeout, cuts the rest and leaves no socket', async () => {
    let finish: (() => void) | undefined
    const { url, server, requests } = await backend((request, response) => {
      if (request.url === '/slow') finish = () => response.end('done')
      else if (request.url !== '/never') response.end('ok')
    })
    const client = clientOf([url])
    await statusOf(client.fetch('/'))
    const slow = client.fetch('/slow').then((response) => response.text())
    const never = settled(client.fetch('/never', { idempotent: false }))
    await vi.waitFor(() => expect(requests).toHaveLength(3), 10_000)
    const closing = client.close({ timeoutMs: 500 })
    expect(client.close()).toBe(closing)
    finish!()
    expect(await slow).toBe('done')
    await closing
    expect(await never).toBeInstanceOf(Error)
    await vi.waitFor(
      async () => expect(await new Promise((resolve) => server.getConnections((_, count) => resolve(count)))).toBe(0),
      10_000,
    )
  })

  it('gives up connecting to a host that never answers only by the policy', async () => {
    const tcp = createTcpServer(() => {}).listen(0, '127.0.0.1')
    onTestFinished(() => void tcp.close())
    await new Promise((resolve) => tcp.once('listening', resolve))
    const client = clientOf([`http://127.0.0.1:${(tcp.address() as AddressInfo).port}`], { policy: { timeoutMs: 200 } })
    expect(await settled(client.fetch('/'))).toMatchObject({ code: 'ERR_RESILIENCE_TIMEOUT', which: 'total' })
  })
})
