import { describe, expect, it } from 'vitest'
import { fits } from './doctor.ts'
import { filmStore, type Override, variantsOf } from './project.ts'

describe('what a store is', () => {
  it.each([
    ['', []],
    ['/repo/docker/compose.yml\n', []],
    ['/repo/docker/compose.yml,/repo/docker/compose.tls.yml,/repo/docker/compose.logs.yml', ['tls', 'logs']],
    // It got more with a second `up`, which left what that did not change.
    ['/repo/docker/compose.yml\n/repo/docker/compose.yml,/repo/docker/compose.logs.yml\n', ['logs']],
    // What adds nothing that lasts, and names of others.
    ['/repo/docker/compose.yml,/repo/docker/compose.dev.yml,/repo/docker/compose.inspect.yml', []],
  ])('is read from the files of its containers: %j', (files, expected) => {
    expect(variantsOf(files)).toEqual(expected)
  })

  const alone = ['postgres-data', 'rabbitmq-data']
  const several = [...alone, 'postgres-2-data']
  it.each<[Override[], string[], string | undefined]>([
    [[], [], undefined],
    [['ha'], [], undefined],
    [[], alone, undefined],
    [['ha'], several, undefined],
    [[], several, 'is that of a store with --ha'],
    [['tls'], several, 'is that of a store with --ha'],
    [['ha'], alone, 'is that of a store without --ha'],
    [['ha', 'tls'], [], 'the members of a cluster speak with each other in plain text'],
  ])('%j is refused over volumes of another kind: %j', (overrides, volumes, found) => {
    expect(fits(filmStore(overrides, {}), volumes).map((each) => each.found)).toEqual(found === undefined ? [] : [found])
  })
})
