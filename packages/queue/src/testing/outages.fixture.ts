import { faultProxy } from '@platform/stack'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../broker.ts'
import type { Consumer } from '../consumer.ts'
import type { ConsumerOptions } from '../options.ts'
import { endChildren, startChild } from './child.ts'
import { driverAt } from './driver-at.ts'
import { Ledger } from './ledger.ts'
import { feedPoison } from './poison.ts'
import { sold } from './sold.ts'

const patience = { timeout: 90_000, interval: 50 }

/** A server that is the suite's own, to be broken. */
export interface FragileServer {
  readonly url: string
  kill(): Promise<void>
  restart(): Promise<void>
  freeze(): void
  thaw(): void
  stop(): Promise<void>
}

export interface OutageStage {
  server(): FragileServer
  broker(url?: string, publishTimeoutMs?: number): Broker
  /** After groups were declared for the first time: what the server needs before it may be killed. */
  settle(): Promise<void>
}

export interface OutageOptions {
  start(): Promise<FragileServer>
  settle?(server: FragileServer): Promise<void>
}

/** Parts of the suite at one server, to be broken by all of them in turn. */
export function describeOutages(
  name: string,
  { start, settle = async () => {} }: OutageOptions,
  ...parts: ((stage: OutageStage) => void)[]
): void {
  describe(`${name} driver under faults`, { timeout: 240_000 }, () => {
    let server: FragileServer
    let brokers: Broker[] = []
    const broker = (url: string = server.url, publishTimeoutMs = 10_000): Broker => {
      const made = createBroker({ driver: driverAt(url), service: 'chaos', publishTimeoutMs })
      brokers.push(made)
      return made
    }
    beforeAll(async () => {
      server = await start()
    })
    afterEach(async () => {
      await endChildren()
      await Promise.all(brokers.map((made) => made.close({ timeoutMs: 5_000 })))
      brokers = []
    })
    afterAll(async () => {
      await server?.stop()
    })
    for (const part of parts) part({ server: () => server, broker, settle: () => settle(server) })
  })
}

/** What every driver promises when processes, connections and its server die, with the ledger as the oracle. */
export function usualFaults({ server, broker, settle }: OutageStage): void {
  it.each([false, true])('loses, doubles, reorders and buries nothing when the server is killed (ordered: %s)', async (ordered) => {
    const group = `killed-${ordered}`
    const ledger = new Ledger({ groups: [group], ordered: ordered ? [group] : [] })
    const effects = new Set<string>()
    for (const member of [broker(), broker()]) await join(member, ledger, { group, ordered }, effects)
    await settle()
    const publisher = broker()
    let back = Promise.resolve()
    await publishAll(publisher, ledger, 300, (n) => {
      if (n === 150)
        back = server()
          .kill()
          .then(() => server().restart())
    })
    await back
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ confirmed: 300, lost: [], doubled: [], reordered: [], untried: [], unaccounted: [] })
    expect(await publisher.deadLetters(sold, group).count()).toBe(0)
  })

  it('convicts the message that kills its process, and none that ran beside it', async () => {
    const { audit, dead, deaths } = await feedPoison(broker(), server().url, false)
    expect(dead).toEqual(['sale-1'])
    expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    // One death that may have had many reasons, then two alone.
    expect(deaths).toBeLessThanOrEqual(3)
  })

  it('delivers again what a killed process held, as the second attempt', async () => {
    const own = broker()
    const child = startChild('stuck-consumer.ts', server().url)
    await vi.waitFor(() => expect(child.lines).toContain('subscribed'), patience)
    await own.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(child.lines).toContain('started'), patience)
    const attempts: number[] = []
    await own.consume(sold, async ({ attempt }) => void attempts.push(attempt), { group: 'shop' })
    await child.kill()
    await vi.waitFor(() => expect(attempts).toEqual([2]), patience)
  })

  it('buries nothing and costs no attempt when connections flap amid settlements', async () => {
    await using proxy = await faultProxy(server().url)
    const groups = ['flapping', 'flapping-in-order']
    const ledger = new Ledger({ groups, ordered: groups.slice(1) })
    const publisher = broker()
    const members = await Promise.all(
      groups.map((group, at) => join(broker(proxy.url), ledger, { group, ordered: at === 1, concurrency: 20, retry: { maxAttempts: 1 } })),
    )
    const flapping = (async () => {
      for (let turn = 0; turn < 12; turn += 1) {
        // Torn in the middle of what it was told, or of what it had to say.
        proxy.tear(700, { direction: turn % 2 === 0 ? 'to-client' : 'to-server' })
        await new Promise((resolve) => setTimeout(resolve, 60))
        proxy.restore()
        await new Promise((resolve) => setTimeout(resolve, 60))
      }
    })()
    await publishAll(publisher, ledger, 300)
    await flapping
    for (const group of groups) await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ lost: [], doubled: [], reordered: [], untried: [], unaccounted: [] })
    for (const group of groups) expect(await publisher.deadLetters(sold, group).list()).toEqual([])
    expect(members.map((member) => member.stats().deadLettered)).toEqual([0, 0])
  })

  it('gives a broadcast listener that was cut off what it missed', async () => {
    await using proxy = await faultProxy(server().url)
    const seen: number[] = []
    await broker(proxy.url).consume(sold, async ({ body }) => void seen.push(body.n), { group: 'broadcast', concurrency: 1 })
    const publisher = broker()
    await publisher.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    proxy.cut()
    for (const n of [2, 3]) await publisher.publish(sold, { film: 'a', n })
    proxy.restore()
    await vi.waitFor(() => expect(new Set(seen)).toEqual(new Set([1, 2, 3])), patience)
  })

  it('tells a publisher whose connection breaks under it, and recovers', async () => {
    await using proxy = await faultProxy(server().url)
    const own = broker(proxy.url, 1_000)
    await own.consume(sold, async () => {}, { group: 'cut' })
    await own.publish(sold, { film: 'a', n: 0 })
    proxy.cut()
    const code = expect.stringMatching(/TIMEOUT|INDETERMINATE/) as string
    await expect(own.publish(sold, { film: 'a', n: 1 })).rejects.toMatchObject({ code })
    await expect(own.check()).rejects.toMatchObject({ code: 'ERR_QUEUE_UNAVAILABLE' })
    proxy.restore()
    await vi.waitFor(() => own.publish(sold, { film: 'a', n: 2 }), patience)
    await vi.waitFor(async () => expect(await own.check()).toBeUndefined(), patience)
  })

  it('ends every wait while the server is frozen, and goes on with nothing lost when it is back', async () => {
    const own = broker(server().url, 500)
    const group = 'frozen'
    const ledger = new Ledger({ groups: [group], ordered: [group] })
    await join(own, ledger, { group, ordered: true })
    await publishAll(own, ledger, 1)
    server().freeze()
    try {
      const startedAt = performance.now()
      const send = (id: string, n: number) => ledger.publish(id, 'a', () => own.publish(sold, { film: 'a', n }, { id }))
      const outcomes = await Promise.allSettled([send('first', 0), send('second', 1), own.check()])
      const codes = outcomes.map((outcome) => outcome.status === 'rejected' && (outcome.reason as { code: string }).code)
      expect(codes).toEqual(['ERR_QUEUE_TIMEOUT', 'ERR_QUEUE_TIMEOUT', 'ERR_QUEUE_UNAVAILABLE'])
      expect(performance.now() - startedAt).toBeLessThan(15_000)
      expect(own.stats().pendingPublishes).toBe(0)
    } finally {
      server().thaw()
    }
    await publishAll(own, ledger, 20)
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    expect(ledger.audit()).toMatchObject({ lost: [], doubled: [], reordered: [], untried: [] })
  })
}

/** Takes long where the core waits for what is to be given back. */
export function frozenClose({ server, broker }: OutageStage): void {
  it('settles every wait and lets the process end when its broker is closed while the server stands still', async () => {
    const child = startChild('leaving-process.ts', server().url, 'leaving')
    await vi.waitFor(() => expect(child.lines).toContain('subscribed'), patience)
    await broker().publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(child.lines).toContain('started'), patience)
    server().freeze()
    try {
      child.process.kill('SIGTERM')
      // It takes about ten seconds: the time to close, what is given back, and a last word to the server.
      await vi.waitFor(() => expect(child.process.exitCode).toBe(0), { timeout: 25_000, interval: 50 })
    } finally {
      server().thaw()
    }
    const outcomes = Object.entries(JSON.parse(child.lines.at(-1) as string) as Record<string, string>)
    expect(outcomes.filter(([, outcome]) => !/^ERR_QUEUE_(CLOSED|UNAVAILABLE)$/.test(outcome))).toEqual([])
  })
}

/** Takes long where leases have to run out. */
export function poisonInOrder({ server, broker }: OutageStage): void {
  it('convicts the message of an ordered group that kills its process, and none that ran beside it', async () => {
    const { audit, dead, deaths } = await feedPoison(broker(), server().url, true)
    expect(dead).toEqual(['sale-1'])
    expect(audit).toMatchObject({ lost: [], untried: [], reordered: [] })
    // One death that may have had many reasons, then two alone.
    expect(deaths).toBeLessThanOrEqual(3)
  })
}

/** Longer than a group may be without members. */
export function longOutage({ server, broker, settle }: OutageStage): void {
  it('removes no group because the server was away for longer than a group may be without members', async () => {
    const groupExpiresAfterMs = 10_000
    const publisher = broker()
    const seen: number[] = []
    const consume = (own: Broker, group: string) =>
      own.consume(sold, async ({ body }) => void seen.push(body.n), { group, groupExpiresAfterMs })
    await consume(broker(), 'there')
    await (await consume(publisher, 'away')).close()
    await settle()
    await publisher.publish(sold, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(seen).toEqual([1]), patience)
    await server().kill()
    await new Promise((resolve) => setTimeout(resolve, groupExpiresAfterMs * 1.2))
    await server().restart()
    // It was without members for a moment only in which somebody could look.
    await consume(broker(), 'away')
    await vi.waitFor(() => expect(seen).toEqual([1, 1]), patience)
    await publisher.publish(sold, { film: 'a', n: 2 })
    await vi.waitFor(() => expect(seen.toSorted((a, b) => a - b)).toEqual([1, 1, 2, 2]), patience)
  })
}

/** A member whose effects happen once for each id, as with an inbox. */
function join(
  own: Broker,
  ledger: Ledger,
  options: Omit<ConsumerOptions, 'batch' | 'inbox'>,
  effects: Set<string> = new Set(),
): Promise<Consumer> {
  const work = ledger.watch<{ film: string; n: number }>(options.group, () => new Promise((resolve) => setTimeout(resolve, 5)))
  const once: typeof work = async (delivery, context) => {
    if (effects.has(delivery.id)) return
    await work(delivery, context)
    effects.add(delivery.id)
  }
  return own.consume(sold, once, { concurrency: 8, retry: { maxAttempts: 2, initialDelayMs: 20 }, ...options })
}
/** In order, each again under its id until it is confirmed. */
async function publishAll(own: Broker, ledger: Ledger, total: number, disturb: (n: number) => void = () => {}): Promise<void> {
  for (let n = 0; n < total; n += 1) {
    disturb(n)
    const film = `film-${n % 7}`
    for (let stored = false; !stored; ) {
      stored = await ledger
        .publish(`sale-${n}`, film, () => own.publish(sold, { film, n }, { id: `sale-${n}` }))
        .then(
          () => true,
          () => false,
        )
      if (!stored) await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
