import { type RequestListener } from 'node:http'
import { lintPolicy } from '@platform/resilience'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Backend, backend, clientOf, deadUrl, quick, settled, status, statusOf } from './backends.fixture.ts'
import { type ServiceClient } from './index.ts'

afterEach(() => void vi.useRealTimers())

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
