import { describe, expect, it } from 'vitest'
import { Lane } from './lane.ts'

const item = (id: string): { id: string } => ({ id })

function lane(...ids: string[]): Lane<{ id: string }> {
  const made = new Lane<{ id: string }>('k')
  for (const id of ids) made.add(item(id))
  return made
}

describe('a lane', () => {
  it('gives out one message at a time, in order', () => {
    const l = lane('1', '2')
    expect(l.offer()).toBe(true)
    expect(l.offer()).toBe(false)
    expect(l.take()?.id).toBe('1')
    expect(l.offer()).toBe(false)
    l.settled()
    expect(l.offer()).toBe(true)
    expect(l.take()?.id).toBe('2')
    l.settled()
    expect(l.empty).toBe(true)
  })

  it('keeps its key for the next try of a message', () => {
    const l = lane('1', '2')
    l.offer()
    const first = l.take() as { id: string }
    l.postpone(first)
    expect(l.offer()).toBe(false)
    expect(l.again(first)).toBe(true)
    l.offer()
    expect(l.take()?.id).toBe('1')
  })

  it('stays blocked until the message that could not be settled comes again, and begins with it', () => {
    const l = lane('1', '2')
    l.offer()
    l.take()
    l.block('1')
    l.add(item('3'))
    expect(l.offer()).toBe(false)
    l.add(item('1'))
    expect(l.offer()).toBe(true)
    expect(l.take()?.id).toBe('1')
    expect(l.empties().map(({ id }) => id)).toEqual(['2', '3'])
  })

  it('puts what was parked before what is new', () => {
    const l = lane('new')
    l.fetch()
    l.add(item('newer'))
    expect(l.offer()).toBe(false)
    l.fetched([item('old'), item('older')])
    expect(l.empties().map(({ id }) => id)).toEqual(['old', 'older', 'new', 'newer'])
  })

  it('loses everything with its channel, except what a handler has', () => {
    const handling = lane('1', '2')
    handling.offer()
    handling.take()
    expect(handling.reset().map(({ id }) => id)).toEqual(['2'])
    handling.add(item('1'))
    expect(handling.offer()).toBe(false)
    handling.settled()
    expect(handling.offer()).toBe(true)

    const postponed = lane('1', '2')
    postponed.offer()
    const first = postponed.take() as { id: string }
    postponed.postpone(first)
    expect(postponed.reset().map(({ id }) => id)).toEqual(['1', '2'])
    expect(postponed.again(first)).toBe(false)

    const offered = lane('1')
    offered.offer()
    offered.reset()
    expect(offered.take()).toBeUndefined()
    for (const entered of ['blocked', 'fetching'] as const) {
      const l = lane('1')
      if (entered === 'fetching') l.fetch()
      else {
        l.offer()
        l.take()
        l.block('1')
      }
      l.reset()
      expect(l.empty).toBe(true)
    }
  })

  it('refuses what has no place in its state', () => {
    expect(() => lane().settled()).toThrow(/idle/)
    const l = lane('1')
    l.offer()
    l.take()
    expect(() => l.fetch()).toThrow(/handling/)
  })
})
