import { expect, it } from 'vitest'
import { isSame } from './deploy.ts'

const spec = { Image: 'catalog-api:2', Env: ['A=1'], Isolation: 'default' }

it('knows an instance of the newest description, whatever docker adds to that of the service', () => {
  expect(isSame(spec, { ...spec, StopGracePeriod: 10_000_000_000, DNSConfig: {} })).toBe(true)
  expect(isSame({ ...spec, StopGracePeriod: 30_000_000_000 }, { DNSConfig: {}, StopGracePeriod: 30_000_000_000, ...spec })).toBe(true)
})

it.each([
  [{ Image: 'catalog-api:3' }],
  [{ Env: ['A=2'] }],
  [{ StopGracePeriod: 30_000_000_000 }],
  // A changed password is a secret of another name.
  [{ Secrets: [{ SecretName: 'db_url-2' }] }],
])('knows one of another description: %j', (changed) => {
  expect(isSame(spec, { ...spec, ...changed })).toBe(false)
})
