import { expect, it, vi } from 'vitest'
import { backend, settled } from './backends.fixture.ts'
import type { Instance, RegistryDriver } from './index.ts'
import { discoveryOn, POLL, scriptedRegistry } from './scripted-registry.fixture.ts'

const shopAt = (url: string): Instance => ({ id: url, service: 'shop', address: '127.0.0.1', port: Number(new URL(url).port) })
it('a request to an instance that has left holds a close no longer than one to an instance that is there', async () => {
  const { url, requests } = await backend(() => {})
  const other = await backend()
  const { driver, set } = scriptedRegistry()
  set(shopAt(url))
  const discovery = discoveryOn(driver, { emptyConfirmMs: 0 })
  const client = discovery.client('shop', { policy: {} })
  const never = settled(client.fetch('/never', { method: 'POST' }))
  await vi.waitFor(() => expect(requests).toHaveLength(1), POLL)
  set(shopAt(other.url))
  await vi.waitFor(() => expect(client.explain().map(({ instance }) => instance.id)).toEqual([other.url]), POLL)
  const from = performance.now()
  await client.close({ timeoutMs: 500 })
  // Far above that for a loaded machine, and far below the minute that an instance is given which has left.
  expect(performance.now() - from).toBeLessThan(20_000)
  expect(await never).toBeInstanceOf(Error)
})

it('a registry that does not answer and an instance that does not share the time of a close', async () => {
  const { url, requests } = await backend(() => {})
  const { driver, set } = scriptedRegistry()
  set(shopAt(url))
  const mute: RegistryDriver = {
    name: 'mute',
    open() {
      const connection = driver.open()
      return { ...connection, registrations: { ...connection.registrations!, remove: () => new Promise<void>(() => {}) } }
    },
  }
  const discovery = discoveryOn(mute)
  await discovery.register({ service: 'shop', address: '127.0.0.1', port: 4000 })
  const never = settled(discovery.client('shop', { policy: {} }).fetch('/never', { method: 'POST' }))
  await vi.waitFor(() => expect(requests).toHaveLength(1), POLL)
  const from = performance.now()
  await discovery.close({ timeoutMs: 4_000 })
  expect(performance.now() - from).toBeLessThan(7_500)
  expect(await never).toBeInstanceOf(Error)
})
