import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { lintPolicy, retryBudget } from '@platform/resilience'
import { createDiscovery, type ServiceClient, type ServiceClientOptions } from './index.ts'
import { staticInstances } from './registries/static.ts'

interface Backend {
  url: string
  server: Server
  requests: IncomingMessage[]
  stop(): Promise<void>
}

async function backend(handle: RequestListener = (_, response) => response.end('ok'), port = 0): Promise<Backend> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    handle(request, response)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const stop = async (): Promise<void> => {
    if (!server.listening) return
    const closed = new Promise<unknown>((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  onTestFinished(stop)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, requests, stop }
}

async function deadUrl(): Promise<string> {
  const { url, stop } = await backend()
  await stop()
  return url
}

function clientOf(urls: readonly string[], options: ServiceClientOptions = {}): ServiceClient {
  const discovery = createDiscovery({ registry: staticInstances({ shop: urls }) })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  return discovery.client('shop', options)
}

const status =
  (code: number, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    response.writeHead(code, headers).end(String(code))
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const statusOf = async (promise: Promise<Response>): Promise<number> => {
  const response = await promise
  await response.text()
  return response.status
}
const quick = { timeoutMs: 20_000, retry: { maxAttempts: 3, initialDelayMs: 1 } }

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

describe('balancing', () => {
  it('keeps the traffic away from slow, dead and fast failing instances', async () => {
    const good = [await backend(), await backend()]
    const slow = await backend((_, response) => void setTimeout(() => response.end('late'), 250))
    const failing = await backend(status(503))
    const dead = await deadUrl()
    const client = clientOf([...good.map(({ url }) => url), slow.url, failing.url, dead], { policy: quick })
    let left = 1000
    const worker = async (): Promise<void> => {
      while (left-- > 0) expect(await statusOf(client.fetch('/'))).toBe(200)
    }
    await Promise.all(Array.from({ length: 8 }, worker))
    const share = new Map(client.explain().map(({ instance, share: part }) => [`http://127.0.0.1:${instance.port}`, part]))
    expect(good.reduce((sum, { url }) => sum + share.get(url)!, 0)).toBeGreaterThan(0.85)
    expect(share.get(slow.url)).toBeLessThan(0.08)
    expect(share.get(failing.url)).toBeLessThan(0.05)
    expect(share.get(dead)).toBeLessThan(0.05)
  })

  it('does not take fast failures for fast answers when most instances fail', async () => {
    const bad = await Promise.all([1, 2, 3].map(() => backend(status(500))))
    const good = await backend((_, response) => void setTimeout(() => response.end('ok'), 20))
    const client = clientOf([...bad.map(({ url }) => url), good.url])
    for (let i = 0; i < 100; i++) await statusOf(client.fetch('/'))
    expect(good.requests.length).toBeGreaterThan(40)
  })

  it('loses no idempotent request when one of two instances dies under load', async () => {
    const handle: RequestListener = (_, response) => void setTimeout(() => response.end('ok'), 5)
    const [first, second] = [await backend(handle), await backend(handle)]
    const client = clientOf([first.url, second.url])
    const statuses: number[] = []
    let running = true
    const workers = Array.from({ length: 40 }, async () => {
      while (running) statuses.push(await statusOf(client.fetch('/')))
    })
    await vi.waitFor(() => expect(first.requests.length).toBeGreaterThan(100), 20_000)
    await first.stop()
    const killedAt = second.requests.length
    await vi.waitFor(() => expect(second.requests.length).toBeGreaterThan(killedAt + 500), 20_000)
    running = false
    await Promise.all(workers)
    expect(statuses.filter((code) => code !== 200)).toEqual([])
  })

  it('ejects an instance after five failures in a row and takes it back later', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    let healthy = false
    const flaky = await backend((request, response) => status(healthy ? 200 : 500)(request, response))
    const good = await backend()
    const client = clientOf([flaky.url, good.url], { balancer: 'round-robin' })
    for (let i = 0; i < 10; i++) await statusOf(client.fetch('/'))
    expect(flaky.requests).toHaveLength(5)
    const port = Number(new URL(flaky.url).port)
    const explained = () => client.explain().find(({ instance }) => instance.port === port)!
    expect(explained()).toMatchObject({ ejectedUntilMs: 30_000, reason: 'ejected after failures in a row' })
    for (let i = 0; i < 10; i++) expect(await statusOf(client.fetch('/'))).toBe(200)
    expect(flaky.requests).toHaveLength(5)

    vi.advanceTimersByTime(30_000)
    for (let i = 0; i < 4; i++) await statusOf(client.fetch('/'))
    expect(explained().ejectedUntilMs, 'one failure is enough now, and it lasts longer').toBe(60_000)
    healthy = true
    vi.advanceTimersByTime(60_000)
    for (let i = 0; i < 4; i++) expect(await statusOf(client.fetch('/'))).toBe(200)
    expect(explained()).toMatchObject({ reason: 'in use' })
  })

  it('goes on using what is left when all fail', async () => {
    const [first, second] = [await backend(status(500)), await backend(status(500))]
    const client = clientOf([first.url, second.url], { balancer: 'round-robin' })
    for (let i = 0; i < 40; i++) expect(await statusOf(client.fetch('/'))).toBe(500)
    expect(first.requests.length + second.requests.length).toBe(40)
    const single = await backend(status(500))
    const alone = clientOf([single.url])
    for (let i = 0; i < 10; i++) await statusOf(alone.fetch('/'))
    expect(single.requests).toHaveLength(10)
    expect(alone.explain()[0]!.reason).toBe('ejected, used because too few are left')
  })
})

describe('blame and load', () => {
  const reasons = (client: ServiceClient) => client.explain().map(({ reason }) => reason)
  const shareOf = (client: ServiceClient, { url }: Backend) =>
    client.explain().find(({ instance }) => url.endsWith(`:${instance.port}`))!.share
  const late =
    (ms: number): RequestListener =>
    (_, response) =>
      void setTimeout(() => response.end('ok'), ms)

  it('a hung instance does not draw the traffic of callers that give up', async () => {
    const hung = await backend(() => {})
    const good = await Promise.all([1, 2, 3, 4].map(() => backend(late(20))))
    const client = clientOf([hung, ...good].map(({ url }) => url))
    const calls: Promise<number>[] = []
    for (let i = 0; i < 150; i++) {
      calls.push(statusOf(client.fetch('/', { signal: AbortSignal.timeout(400) })).catch(() => 0))
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await Promise.all(calls)
    expect(shareOf(client, hung)).toBeLessThan(0.12)
    expect(reasons(client)[client.explain().findIndex(({ instance }) => hung.url.endsWith(`:${instance.port}`))]).not.toBe('in use')
  })

  it('lost hedges and callers with little time leave equal instances as they are', async () => {
    const equal = await Promise.all([1, 2, 3].map(() => backend(late(40))))
    const urls = equal.map(({ url }) => url)
    const hedging = clientOf(urls, { policy: { timeoutMs: 5000, hedge: { maxHedges: 1, delayMs: 20 } } })
    const hasty = clientOf(urls)
    for (let i = 0; i < 20; i++) await statusOf(hasty.fetch('/'))
    for (let i = 0; i < 40; i++) {
      await statusOf(hedging.fetch('/'))
      await settled(hasty.fetch('/', { signal: AbortSignal.timeout(5) }))
    }
    expect(new Set([...reasons(hedging), ...reasons(hasty)])).toEqual(new Set(['in use']))
  })

  it.each([
    [503, { 'retry-after': '5' }],
    [429, { 'retry-after': '5' }],
    [429, {}],
  ])('%d with %j rests that instance, and the request goes elsewhere at once', async (code, headers) => {
    const [busy, good] = [await backend(status(code, headers)), await backend()]
    for (let i = 0; i < 6; i++) {
      const client = clientOf([busy.url, good.url])
      const startedAt = performance.now()
      for (let request = 0; request < 5; request++) expect(await statusOf(client.fetch('/'))).toBe(200)
      expect(performance.now() - startedAt).toBeLessThan(900)
    }
    expect(busy.requests.length).toBeLessThanOrEqual(6)
    expect(await statusOf(clientOf([busy.url]).fetch('/')), 'alone it is the answer').toBe(code)
  })

  it('an instance is busy with an answer until its body has ended', async () => {
    const open: (() => void)[] = []
    const slow = await backend((_, response) => {
      response.write('begin')
      open.push(() => response.end('end'))
    })
    const quick1 = await backend()
    const client = clientOf([slow.url, quick1.url], { maxConcurrentPerInstance: 1 })
    await vi.waitFor(async () => {
      if (open.length === 0) void (await client.fetch('/')).text()
      expect(open).toHaveLength(1)
    }, 5000)
    const before = slow.requests.length
    for (let i = 0; i < 20; i++) await statusOf(client.fetch('/'))
    expect(slow.requests.length, 'it has all that it may have').toBe(before)
    const held = Array.from({ length: 1 }, () => client.fetch('/'))
    await Promise.all(held.map(async (response) => (await response).text()))
    open[0]!()
    await vi.waitFor(async () => {
      void (await client.fetch('/')).text()
      expect(slow.requests.length).toBeGreaterThan(before)
    }, 5000)
    for (const end of open) end()
  })

  it('says how much time is left and which attempt it is, and heeds what an instance says of itself', async () => {
    const leaving = await backend((_, response) => response.setHeader('x-platform-draining', '1').end('ok'))
    const good = await backend((_, response) => response.setHeader('x-platform-load', '0.5').end('ok'))
    const client = clientOf([leaving.url, good.url], { balancer: 'round-robin' })
    for (let i = 0; i < 10; i++) await statusOf(client.fetch('/'))
    expect(leaving.requests.length).toBe(1)
    expect(reasons(client)).toContain('draining')
    expect(Number(good.requests[0]!.headers['x-platform-deadline-ms'])).toBeGreaterThan(0)
  })

  it('has defaults that our own linter has nothing to say about', async () => {
    const { clientPolicy, defaultPolicy } = await import('./client-policy.ts')
    expect(lintPolicy(clientPolicy('shop', defaultPolicy, { elsewhere: () => true, isOurFault: () => false }))).toEqual([])
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
