import { describe, expect, it, vi } from 'vitest'
import { DiscoveryError } from './index.ts'
import { staticInstances } from './registries/static.ts'
import { discoveryOn, POLL, scriptedRegistry } from './scripted-registry.fixture.ts'

describe('register', () => {
  const place = { service: 'shop', address: '127.0.0.1', port: 1, check: { ttlMs: 1000 } }

  it('keeps the entry in the registry, whatever happens to it', async () => {
    const { driver, state, fail } = scriptedRegistry()
    fail(new Error('down'))
    const discovery = discoveryOn(driver)
    const registration = await discovery.register(place)
    expect(registration.registered).toBe(false)
    expect(await discovery.check()).toEqual({ status: 'warn', message: 'shop-127.0.0.1-1 is not registered' })
    fail(undefined)
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
    state.entries.clear()
    await vi.waitFor(() => expect([...state.entries.keys()]).toEqual(['shop-127.0.0.1-1']), POLL)
    await registration.deregister()
    expect([state.entries.size, registration.registered]).toEqual([0, false])
    await new Promise((resolve) => setTimeout(resolve, 700))
    expect(state.entries.size, 'stays away').toBe(0)
  })

  it('is not undone by a write that was under way at the time of deregistering', async () => {
    const { driver, state } = scriptedRegistry()
    const registration = await discoveryOn(driver).register(place)
    const gate = Promise.withResolvers<void>()
    state.gate = gate.promise
    state.entries.clear()
    await vi.waitFor(() => expect(state.puts).toBe(2), POLL)
    const gone = registration.deregister()
    await new Promise((resolve) => setTimeout(resolve, 20))
    gate.resolve()
    await gone
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(state.entries.size).toBe(0)
  })

  it('rejects what the registry refuses and what makes no sense', async () => {
    const { driver, fail } = scriptedRegistry()
    const discovery = discoveryOn(driver)
    fail(new DiscoveryError('ERR_DISCOVERY_REFUSED', 'no permission', { status: 403 }))
    await expect(discovery.register(place)).rejects.toMatchObject({ code: 'ERR_DISCOVERY_REFUSED', status: 403 })
    fail(undefined)
    await expect(discovery.register({ ...place, port: 0 })).rejects.toMatchObject({ option: 'port' })
    await expect(discovery.register({ ...place, check: { ttlMs: 5 } })).rejects.toMatchObject({ option: 'check.ttlMs' })
    await expect(discovery.register({ ...place, id: '' })).rejects.toMatchObject({ option: 'id' })
    for (const address of ['', 'http://10.0.0.7', '10.0.0.7/x', 'a@b', 'no host'])
      await expect(discovery.register({ ...place, address })).rejects.toMatchObject({ option: 'address' })
    await expect(discovery.register({ ...place, meta: { version: 2 as never } })).rejects.toMatchObject({ option: 'meta' })
    expect(discovery.stats().registrations).toEqual({})
  })

  it('deregisters on quiesce and on close, and does nothing where the list is fixed', async () => {
    const { driver, state } = scriptedRegistry()
    const discovery = discoveryOn(driver)
    await discovery.register(place)
    await discovery.quiesce()
    expect(state.entries.size).toBe(0)
    await discovery.register({ ...place, port: 2 })
    await discovery.close()
    expect(state.entries.size).toBe(0)
    const fixed = discoveryOn(staticInstances({}))
    expect((await fixed.register(place)).registered).toBe(true)
  })
})

describe('registering at the same time', () => {
  it('twice, and leaving: nothing is left behind', async () => {
    const { driver, state } = scriptedRegistry()
    const gate = Promise.withResolvers<void>()
    state.gate = gate.promise
    const discovery = discoveryOn(driver)
    const me = { service: 'shop', address: '127.0.0.1', port: 4000, check: { ttlMs: 1000 } }
    const both = Promise.allSettled([discovery.register(me), discovery.register(me), discovery.register({ ...me, port: 4001 })])
    const left = discovery.quiesce()
    gate.resolve()
    await Promise.all([both, left])
    await new Promise((resolve) => setTimeout(resolve, 1200))
    expect([state.entries.size, discovery.stats().registrations]).toEqual([0, {}])
    const again = await discovery.register(me)
    expect([again.registered, state.entries.size], 'later ones are new').toEqual([true, 1])
  })

  it('the second takes the place of the first', async () => {
    const { driver, state } = scriptedRegistry()
    const discovery = discoveryOn(driver)
    const me = { service: 'shop', address: '127.0.0.1', port: 4000 }
    const [first, second] = await Promise.all([discovery.register(me), discovery.register({ ...me, weight: 7 })])
    expect([first.registered, second.registered, state.entries.get(second.id)?.weight]).toEqual([false, true, 7])
    await expect(discovery.register({ ...me, weight: 0.25 })).rejects.toMatchObject({ code: 'ERR_DISCOVERY_OPTION', option: 'weight' })
  })
})
