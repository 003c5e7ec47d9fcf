import { describe, expect, it } from 'vitest'
import type { ServiceSpec } from '../services.ts'
import { createRestarts } from './restarts.ts'

const spec = (name: string, instance: number): ServiceSpec => ({ name, instance, adminPort: 1, env: {} })
const specs = [spec('desk', 1), spec('desk', 2), spec('shelf', 1)]
const change = (services: string[], migrations: string[] = []) => ({
  files: ['x.ts'],
  services: new Set(services),
  migrations: new Set(migrations),
})

/** Services whose restarts end when the test says so; each is written down as it begins. */
function stage() {
  const log: string[] = []
  const said: string[] = []
  const pending: { name: string; signal: AbortSignal; done: PromiseWithResolvers<void> }[] = []
  const exits = new Map<ServiceSpec, PromiseWithResolvers<{ code: number; signal: null }>>()
  const services = {
    async migrate({ name }: ServiceSpec) {
      log.push(`migrate ${name}`)
    },
    restart({ name, instance }: ServiceSpec, signal: AbortSignal) {
      log.push(`restart ${name} ${instance}`)
      const done = Promise.withResolvers<void>()
      signal.addEventListener('abort', () => done.reject(signal.reason))
      pending.push({ name, signal, done })
      return done.promise
    },
    ended(of: ServiceSpec) {
      const exit = exits.get(of) ?? Promise.withResolvers()
      exits.set(of, exit)
      return exit.promise
    },
  }
  const finish = (how?: Error) => {
    for (const { done } of pending.splice(0)) {
      if (how) done.reject(how)
      else done.resolve()
    }
  }
  const restarts = createRestarts({ services, specs }, (line) => said.push(line))
  return { restarts, log, said, finish, exits }
}
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('restarts', () => {
  it('starts all instances of what is concerned, and nothing else', async () => {
    const { restarts, log, finish, said } = stage()
    restarts.take(change(['desk']))
    await settled()
    finish()
    await settled()
    expect(log).toEqual(['restart desk 1', 'restart desk 2'])
    expect(said.at(-1)).toMatch(/^desk 1 and desk 2 restarted in/)
  })

  it('starts once more what was saved while it was starting, without waiting for the start that is out of date', async () => {
    const { restarts, log, finish } = stage()
    restarts.take(change(['shelf']))
    await settled()
    restarts.take(change(['shelf']))
    restarts.take(change(['shelf']))
    await settled()
    expect(log).toEqual(['restart shelf 1', 'restart shelf 1'])
    finish()
    await settled()
    expect(log).toHaveLength(2)
  })

  it('says which one does not come up, and tries again with the next save', async () => {
    const { restarts, log, finish, said } = stage()
    restarts.take(change(['shelf']))
    await settled()
    finish(new Error('shelf 1 ended while starting (code 1)'))
    await settled()
    expect(said.at(-1)).toContain('shelf 1 ended while starting (code 1)')
    restarts.take(change(['shelf']))
    await settled()
    finish()
    await settled()
    expect(log).toHaveLength(2)
    expect(said.at(-1)).toMatch(/restarted/)
  })

  it('migrates first when a migration was saved, once for all instances', async () => {
    const { restarts, log } = stage()
    restarts.take(change(['desk'], ['desk']))
    await settled()
    expect(log).toEqual(['migrate desk', 'restart desk 1', 'restart desk 2'])
  })

  it('says when one ends by itself, but not when it is restarted or all is over', async () => {
    const { restarts, said, exits, finish } = stage()
    restarts.attend()
    exits.get(specs[2]!)!.resolve({ code: 7, signal: null })
    await settled()
    expect(said).toEqual([expect.stringContaining('shelf 1 has ended by itself (code 7)')])
    restarts.take(change(['desk']))
    exits.get(specs[0]!)!.resolve({ code: 0, signal: null })
    await settled()
    finish()
    restarts.close()
    exits.get(specs[1]!)!.resolve({ code: 0, signal: null })
    await settled()
    expect(said.filter((line) => line.includes('by itself'))).toHaveLength(1)
  })
})
