import { describe, expect, it } from 'vitest'
import { commands, readArguments } from './arguments.ts'
import { usage } from './usage.ts'

describe('the command line of infra', () => {
  it.each([
    [['down', '--no-build'], 'down knows no --no-build'],
    [['up', '--image', 'x'], 'up knows no --image'],
    [['rollout', 'orders-api', '--volumes', '--to', 'x'], 'rollout knows no --volumes, --to'],
    // Whoever names a service means that one, not the store.
    [['down', 'orders-api'], 'down takes nothing more: orders-api'],
    [['restore', '2026-01-31'], 'restore takes nothing more'],
    [['rollout'], 'rollout takes one name, not 0'],
    [['rollout', 'orders-api', 'catalog-api'], 'rollout takes one name, not 2'],
    [['sideways'], 'there is no command sideways'],
    [['constructor'], 'there is no command constructor'],
    [['up', '--metrcs'], "Unknown option '--metrcs'"],
  ])('%j is refused', (args, says) => {
    expect(() => readArguments(args)).toThrow(says)
  })

  it('leaves to Compose what is for Compose', () => {
    expect(readArguments(['compose', 'exec', '-T', 'postgres', 'psql', '--help'])).toMatchObject({
      command: 'compose',
      words: ['exec', '-T', 'postgres', 'psql', '--help'],
    })
  })

  it('helps who asks, and who says nothing', () => {
    expect(readArguments([])).toBe('help')
    expect(readArguments(['up', '--help'])).toBe('help')
  })

  it('tells every command and every switch', () => {
    const named = (text: string) => new RegExp(`(^|\\s)${text}\\b`, 'm').test(usage)
    expect(Object.keys(commands).filter((name) => !named(name))).toEqual([])
    const switches = new Set(Object.values(commands).flatMap(({ switches: known }) => known))
    expect([...switches].filter((name) => !named(`--${name}`))).toEqual([])
  })
})
