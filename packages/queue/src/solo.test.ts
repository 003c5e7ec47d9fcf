import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Solo } from './solo.ts'

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve()
}

describe('running alone', () => {
  let log: string[]
  let solo: Solo
  const job = (name: string): { run: () => Promise<void>; end: () => void } => {
    const { promise, resolve } = Promise.withResolvers<void>()
    return {
      run: async () => {
        log.push(`${name} begins`)
        await promise
        log.push(`${name} ends`)
      },
      end: resolve,
    }
  }
  const beside = async <T>(run: () => Promise<T>): Promise<T> => {
    await solo.enter()
    try {
      return await run()
    } finally {
      solo.leave()
    }
  }
  beforeEach(() => {
    vi.useFakeTimers()
    log = []
    solo = new Solo()
  })
  afterEach(() => void vi.useRealTimers())

  it('waits for what runs and keeps waiting what comes', async () => {
    const [a, s, b] = [job('a'), job('alone'), job('b')]
    void beside(a.run)
    void solo.alone(s.run)
    void beside(b.run)
    await turns()
    expect(log).toEqual(['a begins'])
    a.end()
    await turns()
    expect(log).toEqual(['a begins', 'a ends', 'alone begins'])
    s.end()
    await turns()
    expect(log.slice(3)).toEqual(['alone ends', 'b begins'])
  })

  it('lets those who are to be alone follow each other, one at a time', async () => {
    const [first, second, b] = [job('first'), job('second'), job('b')]
    void solo.alone(first.run)
    void solo.alone(second.run)
    void beside(b.run)
    await turns()
    expect(log).toEqual(['first begins'])
    first.end()
    await turns()
    expect(log).toEqual(['first begins', 'first ends', 'second begins'])
    second.end()
    await turns()
    expect(log.at(-1)).toBe('b begins')
  })

  it('waits for nobody longer than its patience, and keeps nobody longer than that', async () => {
    const [long, s, b] = [job('long'), job('alone'), job('b')]
    void beside(long.run)
    void solo.alone(s.run)
    await turns()
    expect(log).toEqual(['long begins'])
    await vi.advanceTimersByTimeAsync(10_000)
    expect(log).toEqual(['long begins', 'alone begins'])
    void beside(b.run)
    await turns()
    expect(log).not.toContain('b begins')
    await vi.advanceTimersByTimeAsync(10_000)
    expect(log).toContain('b begins')
  })

  it('goes on after work that throws', async () => {
    await expect(solo.alone(() => Promise.reject(new Error('x')))).rejects.toThrow('x')
    await expect(beside(async () => 1)).resolves.toBe(1)
  })
})
