import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { faultProxy, startRabbitmq } from '@platform/stack'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { endChildren, startChild, type Child } from '../../testing/child.ts'
import { Ledger, readLedgerLine } from '../../testing/ledger.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'

const patience = { timeout: 120_000, interval: 100 }
const mebibyte = 1_048_576

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function heapBytes(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

/** Runs the work for each number, so many at once. */
async function eachOf(total: number, atOnce: number, work: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < total) await work(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}

function follow(child: Child, ledger: Ledger): () => void {
  let read = 0
  return () => {
    for (const line of child.lines.slice(read)) {
      const entry = readLedgerLine(line)
      if (entry !== undefined) ledger.record(entry)
    }
    read = child.lines.length
  }
}

describe('rabbitmq driver, at length', { timeout: 400_000 }, () => {
  let server: Awaited<ReturnType<typeof startRabbitmq>>
  let brokers: Broker[] = []

  const open = (url: string = server.url, options: object = {}): Broker => {
    const broker = createBroker({ driver: rabbitmq({ urls: [url] }), service: 'long', ...options })
    brokers.push(broker)
    return broker
  }
  beforeAll(async () => {
    server = await startRabbitmq({ fresh: true })
  })
  afterEach(async () => {
    await endChildren()
    await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
    brokers = []
  })
  afterAll(async () => {
    await server?.stop()
  })

  it('loses none of 50,000 confirmed messages when the broker is killed among them', async () => {
    const group = 'killed'
    const total = 50_000
    const handled = new Set<string>()
    await open().consume(sold, async ({ id }) => void handled.add(id), { group, concurrency: 100 })
    // RabbitMQ writes a new quorum queue's metadata seconds after it was declared.
    await server.restart()
    const publisher = open()
    let back: Promise<number> | undefined
    const kill = async (): Promise<number> => {
      const startedAt = performance.now()
      await server.kill()
      await server.restart()
      return performance.now() - startedAt
    }
    await eachOf(total, 256, async (n) => {
      if (n === total / 2) back = kill()
      const id = `killed-${n}`
      for (let confirmed = false; !confirmed; ) {
        try {
          await publisher.publish(sold, { film: `film-${n % 50}`, n }, { id })
          confirmed = true
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    })
    const downMs = await back
    const publishedAt = performance.now()
    await vi.waitFor(() => expect(handled.size).toBe(total), patience)
    console.log(
      `down for ${Math.round(downMs ?? 0)} ms; the last message handled ${Math.round(performance.now() - publishedAt)} ms after its publish`,
    )
    expect(await publisher.deadLetters(sold, group).count()).toBe(0)
  })

  it('keeps its memory through an outage of 60 s at 2,000 publishes a second, and goes on after it', async () => {
    await using proxy = await faultProxy(server.url)
    const group = 'outage'
    const handled = new Set<string>()
    await open().consume(sold, async ({ id }) => void handled.add(id), { group, concurrency: 100 })
    const publisher = open(proxy.url, { publishTimeoutMs: 2_000 })
    const confirmed = new Set<string>()
    const codes = new Map<string, number>()
    let n = 0
    const publishFor = async (ms: number): Promise<void> => {
      const startedAt = performance.now()
      const first = n
      while (performance.now() - startedAt < ms) {
        for (const due = first + ((performance.now() - startedAt) * 2_000) / 1_000; n < due; n += 1) {
          const id = `outage-${n}`
          publisher.publish(sold, { film: 'a', n }, { id }).then(
            () => confirmed.add(id),
            (error: { code: string }) => codes.set(error.code, (codes.get(error.code) ?? 0) + 1),
          )
        }
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
    await publishFor(3_000)
    proxy.cut()
    await publishFor(10_000)
    const early = heapBytes()
    await publishFor(50_000)
    const late = heapBytes()
    proxy.restore()
    const restoredAt = performance.now()
    const before = confirmed.size
    while (confirmed.size === before && performance.now() - restoredAt < 60_000) await publishFor(500)
    expect(confirmed.size).toBeGreaterThan(before)
    console.log(
      `heap after 10 s ${Math.round(early / mebibyte)} MiB, after 60 s ${Math.round(late / mebibyte)} MiB; refused: ${JSON.stringify([...codes])}; ` +
        `published again within ${Math.round(performance.now() - restoredAt)} ms`,
    )
    expect(late - early).toBeLessThan(16 * mebibyte)
    await vi.waitFor(() => expect([...confirmed].filter((id) => !handled.has(id))).toEqual([]), patience)
  })

  it.each(['drained', 'drained-in-order'])('finishes what is in hand when it is told twice to end (%s)', async (group) => {
    const ledger = new Ledger({ groups: [group], ordered: group.endsWith('in-order') ? [group] : [] })
    const broker = open()
    await (await broker.consume(sold, async () => {}, { group, ordered: group.endsWith('in-order') })).close()
    const children = [startChild('draining-consumer.ts', server.url, group), startChild('draining-consumer.ts', server.url, group)]
    const reads = children.map((child) => follow(child, ledger))
    await vi.waitFor(() => expect(children.every(({ lines }) => lines.includes('subscribed'))).toBe(true), patience)
    await eachOf(60, 1, (n) =>
      ledger.publish(`${group}-${n}`, `film-${n % 6}`, () => broker.publish(sold, { film: `film-${n % 6}`, n }, { id: `${group}-${n}` })),
    )
    const [first] = children as [Child, Child]
    await vi.waitFor(() => {
      for (const read of reads) read()
      expect(ledger.audit().messages - ledger.outstanding(group).length).toBeGreaterThan(4)
    }, patience)
    const exited = once(first.process, 'exit') as Promise<[number | null]>
    first.process.kill('SIGTERM')
    await new Promise((resolve) => setTimeout(resolve, 50))
    first.process.kill('SIGTERM')
    expect((await exited)[0]).toBe(0)
    await vi.waitFor(() => {
      for (const read of reads) read()
      expect(ledger.outstanding(group)).toEqual([])
    }, patience)
    expect(ledger.audit()).toMatchObject({ lost: [], doubled: [], reordered: [], untried: [] })
    expect(await broker.deadLetters(sold, group).count()).toBe(0)
  })

  it('delivers elsewhere what a process holds whose event loop stands still for three heartbeats, and takes it back in', async () => {
    const group = 'blocked'
    const ledger = new Ledger({ groups: [group] })
    const broker = open()
    await (await broker.consume(sold, async () => {}, { group })).close()
    const child = startChild('blocked-consumer.ts', server.url, group, '35000')
    const read = follow(child, ledger)
    await vi.waitFor(() => expect(child.lines).toContain('subscribed'), patience)
    const publish = (n: number): Promise<unknown> => {
      const id = `${group}-${n}`
      return ledger.publish(id, undefined, () => broker.publish(sold, { film: 'a', n }, { id }))
    }
    await publish(0)
    await publish(1)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const startedAt = performance.now()
    await broker.consume(
      sold,
      ledger.watch(group, async () => {}),
      { group },
    )
    await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
    console.log(`delivered elsewhere after ${Math.round(performance.now() - startedAt)} ms`)
    expect(child.lines).not.toContain('awake')
    await vi.waitFor(() => expect(child.lines).toContain('awake'), patience)
    // It is a member again.
    let n = 2
    await vi.waitFor(async () => {
      await publish(n++)
      expect(child.lines.filter((line) => line.includes('"begin"')).length).toBeGreaterThan(2)
    }, patience)
    read()
    await vi.waitFor(() => {
      read()
      expect(ledger.outstanding(group)).toEqual([])
    }, patience)
    expect(ledger.audit()).toMatchObject({ lost: [], untried: [] })
    expect(await broker.deadLetters(sold, group).count()).toBe(0)
  })

  it('works off a backlog of 200,000 messages with flat memory and members that share it', async () => {
    const group = 'backlog'
    const total = 200_000
    const publisher = open()
    await (await publisher.consume(sold, async () => {}, { group })).close()
    await eachOf(total, 512, (n) => publisher.publish(sold, { film: 'a', n }))
    const counts = [0, 0, 0]
    const heaps: number[] = []
    await Promise.all(counts.map((_, member) => open().consume(sold, async () => void (counts[member]! += 1), { group, concurrency: 50 })))
    const startedAt = performance.now()
    const done = (): number => counts.reduce((sum, count) => sum + count, 0)
    for (const part of [0.2, 0.4, 0.6, 0.8]) {
      await vi.waitFor(() => expect(done()).toBeGreaterThanOrEqual(total * part), patience)
      heaps.push(heapBytes())
    }
    await vi.waitFor(() => expect(done()).toBe(total), patience)
    console.log(
      `${Math.round((total / (performance.now() - startedAt)) * 1_000)} a second; members ${counts.join(', ')}; heap ` +
        heaps.map((bytes) => `${Math.round(bytes / mebibyte)} MiB`).join(', '),
    )
    expect(Math.max(...heaps) - Math.min(...heaps)).toBeLessThan(24 * mebibyte)
    expect(Math.min(...counts)).toBeGreaterThan(total / 6)
  })
})
