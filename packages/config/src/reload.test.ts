import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig, type LoadOptions, pinnedHook, type ReloadEvent, reloadOnSignal, secret, type Source } from './index.ts'

const POLL = { timeout: 20_000, interval: 10 }

const definition = defineConfig({
  schema: z.object({
    size: z.int().positive().default(1),
    level: z.string().default('info'),
    pool: z.int().default(1).meta({ reload: 'drain' }),
    port: z.int().default(8080).meta({ reload: 'restart' }),
    db: z.object({ password: secret(z.string()).optional() }).prefault({}),
  }),
})

/** A source whose tree the test changes by hand. */
function changeable(first: Record<string, unknown>) {
  const state = { tree: first, changed: (): void => {} }
  const source: Source = {
    name: 'hand',
    read: () => Promise.resolve(state.tree),
    watch(changed) {
      state.changed = changed
      return () => (state.changed = () => {})
    },
  }
  return { state, source }
}

async function loaded(sources: readonly Source[], options: Partial<LoadOptions> = {}) {
  const config = await definition.load({ sources, ...options })
  onTestFinished(() => config.close())
  const events: ReloadEvent[] = []
  config.onReload((event) => events.push(event))
  return { config, events }
}

describe('a reload', () => {
  it('replaces the snapshot as a whole and tells what changed', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config, events } = await loaded([source])
    const before = config.current
    state.tree = { size: 2, pool: 5, level: 'debug' }
    const event = await config.reload()
    expect(event).toMatchObject({ outcome: 'applied', revision: 2, changed: ['size', 'level', 'pool'], drain: ['pool'], restart: [] })
    expect(events).toEqual([event])
    expect(config.current).toMatchObject({ size: 2, level: 'debug', pool: 5 })
    expect(before.size).toBe(1)
    expect(await config.reload()).toMatchObject({ outcome: 'unchanged', revision: 2 })
    expect(events).toHaveLength(1)
    expect(config.explain('size').source).toBe('hand')
  })

  it('keeps the old snapshot when what was read is wrong, and applies the next good state', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config, events } = await loaded([source])
    state.tree = { size: -1, level: 'debug' }
    expect(await config.reload()).toMatchObject({ outcome: 'invalid', revision: 1, error: { code: 'ERR_CONFIG_INVALID' } })
    expect(config.current).toMatchObject({ size: 1, level: 'info' })
    expect(await config.check()).toMatchObject({ status: 'warn', message: 'the last reload was refused: invalid' })
    await config.reload()
    expect(events, 'the same refusal is told once').toHaveLength(1)
    state.tree = { size: 3 }
    expect(await config.reload()).toMatchObject({ outcome: 'applied', revision: 2 })
    expect(config.current.size).toBe(3)
    expect(await config.check()).toBeUndefined()
  })

  it('does not apply a setting that needs a restart, but the rest, and says so until it is put back', async () => {
    const { state, source } = changeable({ size: 1, port: 1 })
    const { config } = await loaded([source])
    state.tree = { size: 2, port: 2 }
    expect(await config.reload()).toMatchObject({ outcome: 'applied', changed: ['size'], restart: ['port'] })
    expect(config.current).toMatchObject({ size: 2, port: 1 })
    expect(config.pendingRestart).toEqual(['port'])
    expect(await config.check()).toMatchObject({ message: 'waiting for a restart: port' })
    state.tree = { size: 2, port: 3 }
    expect(await config.reload()).toMatchObject({ outcome: 'unchanged' })
    state.tree = { size: 2, port: 1 }
    expect(await config.reload()).toMatchObject({ outcome: 'restart', restart: [] })
    expect(config.pendingRestart).toEqual([])
  })

  it('explains a setting that waits for a restart by the source of the value in force', async () => {
    const { source } = changeable({ port: 1 })
    const { state: stronger, source: other } = changeable({})
    const { config } = await loaded([source, { ...other, name: 'other' }])
    stronger.tree = { port: 2, size: 2 }
    expect(await config.reload()).toMatchObject({ outcome: 'applied', changed: ['size'], restart: ['port'] })
    expect([config.explain('port').source, config.explain('size').source]).toEqual(['hand', 'other'])
  })

  it('lets all wait that are only right together with one that waits', async () => {
    const together = defineConfig({
      schema: z
        .object({ min: z.int(), max: z.int().meta({ reload: 'restart' }) })
        .refine(({ min, max }) => min <= max, { error: 'min is at most max' }),
    })
    const { state, source } = changeable({ min: 1, max: 2 })
    await using config = await together.load({ sources: [source] })
    state.tree = { min: 5, max: 9 }
    expect(await config.reload()).toMatchObject({ outcome: 'restart', restart: ['min', 'max'], revision: 1 })
    expect(config.current).toEqual({ min: 1, max: 2 })
  })

  it('shares one run among those who ask at the same time, and runs once more for who came late', async () => {
    let reads = 0
    const slow: Source = { name: 'slow', read: async () => (reads++, await sleep(20), { size: reads }) }
    const { config } = await loaded([slow])
    const [first, second, third] = await Promise.all([config.reload(), config.reload(), config.reload()])
    expect(reads).toBe(3)
    expect(second).toBe(third)
    expect(second).not.toBe(first)
  })

  it('is bounded when a source hangs, leaves an aborted caller at once, and ends with close', async () => {
    let hangs = false
    const source: Source = { name: 'hangs', read: () => (hangs ? new Promise(() => {}) : Promise.resolve({ size: 1 })) }
    const { config } = await loaded([source], { readTimeoutMs: 200 })
    hangs = true
    expect(await config.reload()).toMatchObject({ outcome: 'invalid' })
    const leaving = config.reload({ signal: AbortSignal.timeout(10) })
    await expect(leaving).rejects.toMatchObject({ name: 'TimeoutError' })
    const closing = config.reload()
    await config.close()
    await expect(closing).rejects.toMatchObject({ code: 'ERR_CONFIG_CLOSED' })
    await expect(config.reload()).rejects.toMatchObject({ code: 'ERR_CONFIG_CLOSED' })
    expect(config.current.size).toBe(1)
  })
})

describe('what does not settle, or fails late', () => {
  const watched = { watch: true, prepareTimeoutMs: 100, readTimeoutMs: 200 }

  it('a commit or an observer that rejects, throws or hangs ends up in the event, and nowhere else', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => void unhandled.push(error)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source], { prepareTimeoutMs: 50 })
    let commit = (): void => {}
    config.live((current) => current.size).onChange(() => ({ commit: () => commit() }))
    config.onReload(() => Promise.reject(new Error('observer')) as never)
    config.onReload(() => {
      throw new Error('observer')
    })
    const outcomes: unknown[] = []
    for (const [size, bad] of [
      [2, () => Promise.reject(new Error('rejects'))],
      [3, () => new Promise(() => {})],
      [4, () => expect.fail('throws')],
    ] as const) {
      commit = bad as () => void
      state.tree = { size }
      const event = await config.reload()
      outcomes.push([event.outcome, config.current.size, (event.error as Error).message])
    }
    await new Promise(setImmediate)
    expect(outcomes).toEqual([
      ['applied', 2, 'rejects'],
      ['applied', 3, 'a commit was not done within 50 ms'],
      ['applied', 4, 'throws'],
    ])
    expect(unhandled).toEqual([])
  })

  it.each([
    ['never answers', () => new Promise<boolean>(() => {}), 'no answer within 200 ms'],
    ['rejects', () => Promise.reject(new Error('CANARY')), 'one threw'],
  ])('a rule that %s is a fault of the settings, in time and without a word of what it saw', async (_name, rule, text) => {
    const ruled = defineConfig({ schema: z.object({ size: z.number() }).refine(({ size }) => size === 1 || rule()) })
    const { state, source } = changeable({ size: 1 })
    const config = await ruled.load({ sources: [source], readTimeoutMs: 200 })
    onTestFinished(() => config.close())
    state.tree = { size: 2 }
    const event = await config.reload()
    expect(event).toMatchObject({ outcome: 'invalid', error: { code: 'ERR_CONFIG_INVALID', message: expect.stringContaining(text) } })
    expect(inspect(event.error, { depth: 9 })).not.toContain('CANARY')
    expect(config.current.size).toBe(1)
  })

  it('a change that was refused is tried again while it is wanted; the same refusal is told once, another one too', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config, events } = await loaded([source], watched)
    let asked = 0
    config
      .live((current) => current.size)
      .onChange((next) => {
        asked += 1
        if (asked < 3) throw new Error(`no room for ${next}`)
        return { commit() {} }
      })
    state.tree = { size: 2 }
    await config.reload()
    await vi.waitFor(() => expect(config.current.size).toBe(2), POLL)
    expect(asked).toBe(3)
    expect(events.map(({ outcome }) => outcome)).toEqual(['vetoed', 'applied'])
    asked = -10
    for (const size of [3, 4, 4, 5]) {
      state.tree = { size }
      await config.reload()
    }
    expect(events.slice(2).map(({ error }) => ((error as Error).cause as Error).message)).toEqual([
      'no room for 3',
      'no room for 4',
      'no room for 5',
    ])
  })

  it('a change that was refused is left alone where nothing is watched', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source], { watch: false })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    state.tree = { size: 'x' }
    expect(await config.reload()).toMatchObject({ outcome: 'invalid' })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('of settings that are not usable every other one is told, though the same is wrong with it', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config, events } = await loaded([source])
    for (const size of ['x', 'y', 'y', 'z']) {
      state.tree = { size }
      await config.reload()
    }
    expect(events.map(({ outcome }) => outcome)).toEqual(['invalid', 'invalid', 'invalid'])
  })

  it('close is bounded, whatever hangs', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded(
      [source, { name: 'hangs', read: () => Promise.resolve({}), watch: () => () => expect.fail('end') }],
      watched,
    )
    config.live((current) => current.size).onChange(() => ({ commit: () => new Promise(() => {}) as never }))
    state.tree = { size: 2 }
    const reloading = config.reload()
    await config.close({ timeoutMs: 50 })
    await reloading.catch(() => {})
  })

  it('a pinned request is told the revision that it sees', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source])
    const seen = await config.pinned(async () => {
      state.tree = { size: 2 }
      await config.reload()
      return [config.current.size, config.revision, config.pinned(() => config.revision)]
    })
    expect(seen).toEqual([1, 1, 1])
    expect(config.revision).toBe(2)
  })
})

describe('listeners', () => {
  it('are asked only about what changed, prepare first and commit after the switch', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source])
    const log: string[] = []
    config.live((current) => current.level).onChange(() => expect.fail('the level does not change'))
    const live = config.live((current) => current.size)
    const unsubscribe = live.onChange((next, previous, { signal }) => {
      log.push(`prepare ${previous} ${next} ${config.current.size} ${signal.aborted}`)
      return { commit: () => log.push(`commit ${config.current.size} ${live.current}`) }
    })
    state.tree = { size: 2 }
    await config.reload()
    expect(log).toEqual(['prepare 1 2 1 false', 'commit 2 2'])
    unsubscribe()
    state.tree = { size: 3 }
    await config.reload()
    expect(log).toHaveLength(2)
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('no')
      },
    ],
    ['rejects', () => Promise.reject(new Error('no'))],
    ['hangs', () => new Promise<never>(() => {})],
  ] as const)('veto for everyone when one %s: the others abort, nothing changes, the next change is applied', async (_how, bad) => {
    const { state, source } = changeable({ size: 1 })
    const { config, events } = await loaded([source], { prepareTimeoutMs: 100 })
    const told: string[] = []
    const live = config.live((current) => current.size)
    live.onChange(() => ({ commit: () => told.push('commit'), abort: () => told.push('abort') }))
    const slow = Promise.withResolvers<void>()
    live.onChange(async (_next, _previous, { signal }) => {
      signal.addEventListener('abort', () => slow.resolve())
      await slow.promise
      return { commit: () => told.push('late commit'), abort: () => told.push('late abort') }
    })
    const leave = live.onChange(bad)
    state.tree = { size: 2 }
    const event = await config.reload()
    expect(event).toMatchObject({ outcome: 'vetoed', revision: 1, error: { code: 'ERR_CONFIG_VETOED' } })
    expect(event.error).toHaveProperty('cause')
    expect(config.current.size).toBe(1)
    await vi.waitFor(() => expect(told).toEqual(['abort', 'late abort']), POLL)
    leave()
    slow.resolve()
    expect(await config.reload()).toMatchObject({ outcome: 'applied' })
    expect(told.slice(2)).toEqual(['commit', 'late commit'])
    expect(events.map(({ outcome }) => outcome)).toEqual(['vetoed', 'applied'])
  })

  it('that throw in their commit do not keep the others from theirs; the event carries the error', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source])
    const committed = vi.fn<() => void>()
    const live = config.live((current) => current.size)
    live.onChange(() => ({
      commit: () => {
        throw new Error('commit failed')
      },
    }))
    live.onChange(() => ({ commit: committed }))
    state.tree = { size: 2 }
    expect(await config.reload()).toMatchObject({ outcome: 'applied', error: { message: 'commit failed' } })
    expect(committed).toHaveBeenCalledOnce()
  })

  it('see a secret change by its value', async () => {
    const { state, source } = changeable({ db: { password: 'first password' } })
    const { config } = await loaded([source])
    const seen: (string | undefined)[] = []
    config.live((current) => current.db.password).onChange((next) => ({ commit: () => seen.push(next?.reveal()) }))
    await config.reload()
    state.tree = { db: { password: 'second password' } }
    expect(await config.reload()).toMatchObject({ outcome: 'applied', changed: ['db.password'] })
    expect(seen).toEqual(['second password'])
    expect([...config.secrets()], 'an old one may still be in flight to a log').toEqual(['second password', 'first password'])
    for (let n = 0; n < 10; n++) {
      state.tree = { db: { password: `password ${n}` } }
      await config.reload()
    }
    expect([...config.secrets()].slice(-1)).toEqual(['second password'])
  })
})

describe('pinned', () => {
  it('shows one snapshot to everything that runs inside, while others see the new one', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source])
    const live = config.live((current) => current.size)
    const go = Promise.withResolvers<void>()
    const request = { method: 'GET', url: '/', headers: {} }
    const inside = async () => {
      const before = config.current.size
      await go.promise
      return [before, config.current.size, live.current, config.pinned(() => config.current.size)]
    }
    const first = pinnedHook(config)(request, inside)
    state.tree = { size: 2 }
    await config.reload()
    const second = config.pinned(inside)
    state.tree = { size: 3 }
    await config.reload()
    go.resolve()
    expect(await first).toEqual([1, 1, 1, 1])
    expect(await second).toEqual([2, 2, 2, 2])
    expect([config.current.size, live.current]).toEqual([3, 3])
  })
})

describe('a signal', () => {
  it('reloads, until it is called off', async () => {
    const { state, source } = changeable({ size: 1 })
    const { config } = await loaded([source])
    const callOff = reloadOnSignal(config, 'SIGUSR2')
    state.tree = { size: 2 }
    process.kill(process.pid, 'SIGUSR2')
    await vi.waitFor(() => expect(config.current.size).toBe(2), POLL)
    const listeners = process.listenerCount('SIGUSR2')
    callOff()
    expect(process.listenerCount('SIGUSR2')).toBe(listeners - 1)
  })
})
