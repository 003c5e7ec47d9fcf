import { describe, expect, it } from 'vitest'
import { checkRelease } from './image-names.ts'

describe('names of a release', () => {
  it.each([
    [{ version: '' }, '--version'],
    [{ version: 'a b' }, '--version'],
    [{ version: 'latest@sha256:0' }, '--version'],
    [{ version: '1', gatewayVersion: '-1' }, '--gateway'],
    [{ version: '1', registry: 'https://ghcr.io/o/film-store' }, '--registry'],
    [{ version: '1', registry: 'ghcr.io/o/film-store/' }, '--registry'],
    [{ version: '1', registry: 'ghcr.io/Owner/film-store' }, '--registry'],
    [{ version: '1', registry: '' }, '--registry'],
  ])('%j is refused before anything is done', (release, name) => {
    expect(() => checkRelease(release)).toThrow(name)
  })

  it.each([
    { version: '1.4.0' },
    { version: '42fff530e38c11f26b7dbea45df3336befc8b463', gatewayVersion: '1.3.9_b', registry: '127.0.0.1:5000' },
    { version: '1', registry: 'ghcr.io/some-body/film_store.images' },
  ])('%j is taken', (release) => {
    expect(() => checkRelease(release)).not.toThrow()
  })
})
