import { expect, it } from 'vitest'
import { release } from './release.ts'

it.each([
  [undefined, undefined],
  ['', undefined],
  ['service.version=', undefined],
  ['service.version=1.4.0', '1.4.0'],
  ['deployment.environment.name=production, service.version=0123abc-dirty', '0123abc-dirty'],
  ['my.service.version=2', undefined],
])('%s: %s', (attributes, expected) => {
  expect(release({ OTEL_RESOURCE_ATTRIBUTES: attributes })).toBe(expected)
})
