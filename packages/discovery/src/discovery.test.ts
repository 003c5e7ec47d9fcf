import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type DiscoveryOptions, type Instance } from './index.ts'
import { staticInstances } from './registries/static.ts'
import { at, discoveryOn, POLL, ports, scriptedRegistry, settled } from './scripted-registry.fixture.ts'

describe('watch', () => {
  it('tells the first set and each real change, and nothing when only the order or the index moved', async () => {
    const { driver, state, set } = scriptedRegistry()
    set(at(1), at(2))
    const discovery = discoveryOn(driver)
    const seen: (number[] | undefined)[] = []
    const stop = discovery.watch('shop', (instances) => seen.push(ports(instances)))
    await vi.waitFor(() => expect(seen).toEqual([[1, 2]]), POLL)
    set(at(2), at(1))
    const { reads } = state
    await vi.waitFor(() => expect(state.reads).toBeGreaterThan(reads), POLL)
    set(at(2), at(1), at(3))
    await vi.waitFor(
      () =>
        expect(seen).toEqual([
          [1, 2],
          [1, 2, 3],
        ]),
      POLL,
    )
    expect(ports(await discovery.resolve('shop'))).toEqual([1, 2, 3])
    expect(Object.isFrozen(await discovery.resolve('shop'))).toBe(true)
    stop()
    set(at(4))
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([4]), POLL)
    expect(seen).toHaveLength(2)
  })

  it('keeps the last set while the registry fails, says so, and goes on afterwards', async () => {
    const { driver, set, fail } = scriptedRegistry()
    set(at(1))
    const discovery = discoveryOn(driver)
    discovery.watch('shop', () => {
      throw new Error('a listener of somebody else')
    })
    await discovery.resolve('shop')
    expect(await discovery.check()).toBeUndefined()
    fail(new Error('down'))
    await vi.waitFor(async () => expect(await discovery.check()).toEqual({ status: 'warn', message: 'instances of shop are stale' }), POLL)
    expect(ports(await discovery.resolve('shop'))).toEqual([1])
    fail(undefined)
    set(at(1), at(2))
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([1, 2]), POLL)
    expect(discovery.stats().services['shop']).toEqual({ instances: 2, stale: false })
  })

  it('cuts a read that went silent and asks again', async () => {
    const { driver, state, set } = scriptedRegistry({ readTimeoutMs: 200.5 })
    set(at(1))
    const discovery = discoveryOn(driver, { emptyConfirmMs: 500 })
    await discovery.resolve('shop')
    state.silent = true
    const { reads } = state
    await vi.waitFor(() => expect(state.reads).toBeGreaterThan(reads + 1), POLL)
    state.silent = false
    state.instances = [at(2)]
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([2]), POLL)
  })

  it('does not wait for a registry that heeds no signal', async () => {
    const deaf = { name: 'deaf', open: () => ({ readTimeoutMs: 50, read: () => new Promise<never>(() => {}), close: async () => {} }) }
    expect(await settled(discoveryOn(deaf).resolve('shop'))).toMatchObject({ code: 'ERR_DISCOVERY_UNAVAILABLE' })
  })

  it('does not flood a registry whose answers come at once', async () => {
    const { driver, state, set } = scriptedRegistry()
    set(at(1))
    const discovery = discoveryOn({
      ...driver,
      open: () => ({ ...driver.open(), read: async () => ({ instances: state.instances, cursor: String(state.reads++) }) }),
    })
    await discovery.resolve('shop')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(state.reads).toBeLessThan(12)
  })

  it('believes an empty set only when it lasts', async () => {
    const { driver, state, set } = scriptedRegistry()
    set(at(1))
    const discovery = discoveryOn(driver, { emptyConfirmMs: 300 })
    const seen: (number[] | undefined)[] = []
    discovery.watch('shop', (instances) => seen.push(ports(instances)))
    await discovery.resolve('shop')
    set()
    await vi.waitFor(() => expect(state.answered).toEqual([1, 0]), POLL)
    set(at(2))
    await vi.waitFor(() => expect(seen.at(-1)).toEqual([2]), POLL)
    expect(seen, 'the first may only not be back yet').toEqual([[1], [1, 2], [2]])
    set()
    await vi.waitFor(() => expect(seen).toEqual([[1], [1, 2], [2], []]), POLL)
  })

  it('lets go of what vanished by a fresh answer, not because the last one is old', async () => {
    const { driver, state, set } = scriptedRegistry()
    set(at(1), at(2), at(3))
    const discovery = discoveryOn(driver, { emptyConfirmMs: 200 })
    let seen: number[] | undefined
    discovery.watch('shop', (instances) => (seen = ports(instances)))
    await vi.waitFor(() => expect(seen).toEqual([1, 2, 3]), POLL)
    set(at(1))
    await vi.waitFor(() => expect(state.answered.at(-1)).toBe(1), POLL)
    state.silent = true
    const { reads } = state
    await vi.waitFor(() => expect(state.reads).toBeGreaterThan(reads), POLL)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(seen).toEqual([1, 2, 3])
    state.silent = false
    set(at(1))
    await vi.waitFor(() => expect(seen).toEqual([1]), POLL)
  })

  it('takes the first registry that has instances', async () => {
    const [first, second] = [scriptedRegistry(), scriptedRegistry()]
    second.set(at(2))
    const discovery = discoveryOn([first.driver, second.driver], { emptyConfirmMs: 50 })
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([2]), POLL)
    first.set(at(1))
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([1]), POLL)
    first.set()
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([2]), POLL)
  })

  it.each([
    ['has others', [at(2)]],
    ['has none', []],
  ])('takes it though a later one that %s answers sooner', async (_what, others) => {
    const [first, second] = [scriptedRegistry(), scriptedRegistry()]
    first.state.silent = true
    second.set(...others)
    const discovery = discoveryOn([first.driver, second.driver])
    const seen: (number[] | undefined)[] = []
    discovery.watch('shop', (instances) => seen.push(ports(instances)))
    await vi.waitFor(() => expect(second.state.answered).toHaveLength(1), POLL)
    first.state.silent = false
    first.set(at(1))
    expect(ports(await discovery.resolve('shop'))).toEqual([1])
    expect(seen).toEqual([[1]])
  })

  it('does not wait for one that fails, nor for long for one that is silent', async () => {
    const [failing, silent, last] = [scriptedRegistry(), scriptedRegistry(), scriptedRegistry()]
    failing.fail(new Error('down'))
    silent.state.silent = true
    last.set(at(3))
    expect(ports(await discoveryOn([failing.driver, last.driver]).resolve('shop'))).toEqual([3])
    expect(ports(await discoveryOn([silent.driver, last.driver]).resolve('shop'))).toEqual([3])
  })
})

describe('resolve', () => {
  it("rejects when no registry answers, and with the caller's reason", async () => {
    const { driver, state, fail } = scriptedRegistry()
    state.silent = true
    const discovery = discoveryOn(driver)
    const controller = new AbortController()
    const call = settled(discovery.resolve('shop', { signal: controller.signal }))
    controller.abort('left')
    expect(await call).toBe('left')
    const down = new Error('down')
    const waiting = settled(discovery.resolve('shop'))
    fail(down)
    expect(await waiting).toMatchObject({ code: 'ERR_DISCOVERY_UNAVAILABLE', service: 'shop', cause: down })
    const request = await settled(discovery.client('shop', { policy: {} }).fetch('/'))
    expect(request).toMatchObject({ code: 'ERR_DISCOVERY_NO_INSTANCE', cause: { code: 'ERR_DISCOVERY_UNAVAILABLE' } })
  })

  it('ends with the discovery', async () => {
    const { driver, state } = scriptedRegistry()
    state.silent = true
    const discovery = discoveryOn(driver)
    const waiting = settled(discovery.resolve('shop'))
    expect(discovery.close()).toBe(discovery.close())
    expect(await waiting).toMatchObject({ code: 'ERR_DISCOVERY_CLOSED' })
    await discovery.close()
    expect(state.closed).toBe(1)
    await expect(discovery.resolve('shop')).rejects.toMatchObject({ code: 'ERR_DISCOVERY_CLOSED' })
    const { reads } = state
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(state.reads).toBe(reads)
  })
})

describe('snapshot', () => {
  async function snapshotPath(): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), 'discovery-'))
    onTestFinished(() => rm(directory, { recursive: true }))
    return join(directory, 'instances.json')
  }

  it('serves the last set when the registry is down at the start, marked as stale', async () => {
    const snapshotFile = await snapshotPath()
    const first = scriptedRegistry()
    first.set(at(1), at(2))
    const before = discoveryOn(first.driver, { snapshotFile, emptyConfirmMs: 20 })
    await before.resolve('shop')
    first.set()
    await vi.waitFor(async () => expect(await before.resolve('shop')).toEqual([]), POLL)
    await before.close()

    const second = scriptedRegistry()
    second.fail(new Error('down'))
    const after = discoveryOn(second.driver, { snapshotFile })
    expect(ports(await after.resolve('shop'))).toEqual([1, 2])
    expect(after.stats().services['shop']).toEqual({ instances: 2, stale: true })
    second.fail(undefined)
    second.set(at(3))
    await vi.waitFor(() => expect(after.stats().services['shop']).toEqual({ instances: 1, stale: false }), POLL)
  })

  it('serves it too when the registry is silent', async () => {
    const snapshotFile = await snapshotPath()
    await writeFile(snapshotFile, JSON.stringify({ format: 1, services: { shop: [at(7)] } }))
    const { driver, state } = scriptedRegistry()
    state.silent = true
    expect(ports(await discoveryOn(driver, { snapshotFile }).resolve('shop'))).toEqual([7])
  })

  it.each(['is down', 'is silent'])('serves it too when the registry %s and another one has no instances', async (how) => {
    const snapshotFile = await snapshotPath()
    await writeFile(snapshotFile, JSON.stringify({ format: 1, services: { shop: [at(7)] } }))
    const [first, second] = [scriptedRegistry(), scriptedRegistry()]
    if (how === 'is down') first.fail(new Error('down'))
    else first.state.silent = true
    const discovery = discoveryOn([first.driver, second.driver], { snapshotFile, emptyConfirmMs: 20 })
    expect(ports(await discovery.resolve('shop'))).toEqual([7])
    const { length } = second.state.answered
    second.set()
    await vi.waitFor(() => expect(second.state.answered.length).toBeGreaterThan(length), POLL)
    expect(ports(await discovery.resolve('shop'))).toEqual([7])
    first.fail(undefined)
    first.state.silent = false
    first.set()
    await vi.waitFor(async () => expect(await discovery.resolve('shop')).toEqual([]), POLL)
  })

  it('is ignored when it cannot be read', async () => {
    const snapshotFile = await snapshotPath()
    await writeFile(snapshotFile, '{"format":1,"services":{"shop":[{"id"')
    const { driver, set, fail } = scriptedRegistry()
    fail(new Error('down'))
    const discovery = discoveryOn(driver, { snapshotFile })
    await expect(discovery.resolve('shop')).rejects.toMatchObject({ code: 'ERR_DISCOVERY_UNAVAILABLE' })
    fail(undefined)
    set(at(1))
    await vi.waitFor(
      async () => expect(JSON.parse(await readFile(snapshotFile, 'utf8'))).toMatchObject({ services: { shop: [at(1)] } }),
      POLL,
    )
  })
})

it('uses what is usable of a registry that says more, tells of the rest once, and goes on when the logger throws', async () => {
  const { driver, set } = scriptedRegistry()
  const events: unknown[] = []
  const boom = (): never => {
    throw new Error('a full disk')
  }
  const discovery = discoveryOn(driver, {
    onEvent: (event) => void (event.type === 'entries-unusable' && events.push(event)),
    logger: { debug: boom, info: boom, warn: boom, error: boom },
    emptyConfirmMs: 0,
  })
  const unusable = [
    undefined,
    { id: 'shop-0' },
    { ...at(2), port: 0 },
    { ...at(3), port: '3' },
    { ...at(4), address: 'evil.example/path' },
    { ...at(5), address: '' },
    { ...at(6), meta: { scheme: 1 } },
    { ...at(7), id: undefined },
  ] as unknown as Instance[]
  let seen: number[] | undefined
  discovery.watch('shop', (instances) => {
    seen = ports(instances)
    boom()
  })
  set(at(1), ...unusable)
  await vi.waitFor(() => expect(seen).toEqual([1]), POLL)
  set(at(1), at(9), ...unusable)
  await vi.waitFor(() => expect(seen).toEqual([1, 9]), POLL)
  expect(events).toEqual([{ type: 'entries-unusable', service: 'shop', registry: 'scripted', entries: unusable.length }])
})

describe('options', () => {
  it('name a wrong one', () => {
    const { driver } = scriptedRegistry()
    expect(() => createDiscovery({ registry: driver, snapshot: 'x' } as unknown as DiscoveryOptions)).toThrow('snapshot is unknown')
    expect(() => createDiscovery({ registry: [] })).toThrow('registry')
    expect(() => staticInstances({ shop: ['127.0.0.1:80'] })).toThrow('origins')
    expect(() => staticInstances({ shop: ['http://127.0.0.1:80/path'] })).toThrow('origins')
  })
})

it('tells what changes: instances, removals that are held, the registry', async () => {
  const { driver, set, fail } = scriptedRegistry()
  set(at(1), at(2), at(3))
  const told: string[] = []
  const discovery = discoveryOn(driver, {
    emptyConfirmMs: 300,
    onEvent: (event) => {
      told.push(`${event.type} ${'instance' in event ? event.instance.port : event.registry}`)
      throw new Error('a listener of the user')
    },
  })
  await discovery.resolve('shop')
  set(at(1))
  await vi.waitFor(() => expect(told.at(-1)).toBe('instance-left 3'), POLL)
  fail(new Error('down'))
  await vi.waitFor(() => expect(told.at(-1)).toBe('registry-lost scripted'), POLL)
  fail(undefined)
  await vi.waitFor(() => expect(told.at(-1)).toBe('registry-back scripted'), POLL)
  expect(told).toEqual([
    'instance-appeared 1',
    'instance-appeared 2',
    'instance-appeared 3',
    'removal-held scripted',
    'instance-left 2',
    'instance-left 3',
    'registry-lost scripted',
    'registry-back scripted',
  ])
})
