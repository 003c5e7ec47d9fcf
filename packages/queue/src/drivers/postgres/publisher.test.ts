import { expect, it } from 'vitest'
import type { Boss } from './boss.ts'
import type { Connections } from './connection.ts'
import { BatchPublisher } from './publisher.ts'
import type { Registry } from './registry.ts'

const signal = new AbortController().signal
const envelope = { id: 'm', key: undefined, headers: {}, publishedAt: 0, body: {} } as never
const request = { signal, mandatory: false, delayMs: 0 } as never

/** No server can be stopped between two microtasks: transactions end when the test says so. */
it('what is published in whatever turn after a transaction has ended is stored', async () => {
  for (let turns = 0; turns < 20; turns++) {
    const commits: (() => void)[] = []
    const connections = { transaction: () => new Promise((resolve) => commits.push(() => resolve(new Set()))) }
    const publisher = new BatchPublisher(
      connections as never as Connections,
      { started: async () => {} } as never as Boss,
      {} as Registry,
      'c',
    )
    const first = publisher.publish('films', envelope, request)
    await new Promise(setImmediate)
    commits.shift()!()
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    const second = publisher.publish('films', envelope, request)
    await new Promise(setImmediate)
    expect(commits).toHaveLength(1)
    commits.shift()!()
    await Promise.all([first, second])
  }
})
