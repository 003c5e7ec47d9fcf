import type { ConsumeMessage } from 'amqplib'
import { beforeEach, describe, expect, it } from 'vitest'
import type { KeyState } from './key-log.ts'
import { Suspicion } from './suspicion.ts'
import { GivenBack, type Tries } from './tries.ts'
import { fromWire, toWire } from './wire.ts'

/** A message of a key, as the broker hands it out after so many earlier deliveries. */
function delivered(id: string, key: string | undefined, deliveries: number, counted = 0): ConsumeMessage {
  const { content, options } = toWire(
    { id, name: 'n', version: 1, key, headers: {}, publishedAt: 1, body: '1' },
    { counted, shown: counted },
  )
  const headers = { ...(options.headers as object), 'x-delivery-count': deliveries }
  return { content, properties: { ...options, headers }, fields: { redelivered: deliveries > 0 } } as unknown as ConsumeMessage
}

function stateAfter(clean: boolean, tries: Record<string, Tries> = {}): KeyState {
  return { parked: new Map(), tries: new Map(Object.entries(tries)), clean, settled: new Set(), entries: 0 }
}

describe('whom an ordered group suspects of the end of the member before', () => {
  let suspicion: Suspicion
  const judge = (message: ConsumeMessage, state: KeyState) => suspicion.judge(message, fromWire(message), state)
  beforeEach(() => {
    suspicion = new Suspicion('q', new GivenBack())
  })

  it('is the first of a key, which alone can have begun, and none behind it', () => {
    expect(judge(delivered('1', 'a', 1), stateAfter(false))).toEqual({ tries: { counted: 0, shown: 1 }, suspect: true })
    expect(judge(delivered('2', 'a', 1), stateAfter(false))).toEqual({ tries: { counted: 0, shown: 0 }, suspect: false })
    expect(judge(delivered('3', 'b', 1), stateAfter(false)).suspect).toBe(true)
  })

  it('is everybody without a key', () => {
    expect(judge(delivered('1', undefined, 1), stateAfter(false)).suspect).toBe(true)
    expect(judge(delivered('2', undefined, 1), stateAfter(false)).suspect).toBe(true)
  })

  it('is nobody when that one left with nothing in hand, and what it told of tries holds', () => {
    const state = stateAfter(true, { 2: { counted: 3, shown: 4 } })
    expect(judge(delivered('1', 'a', 1), state)).toEqual({ tries: { counted: 0, shown: 0 }, suspect: false })
    expect(judge(delivered('2', 'b', 1), state)).toEqual({ tries: { counted: 3, shown: 4 }, suspect: false })
  })

  it('is nobody who was never handed out, or only to this process', () => {
    expect(judge(delivered('1', 'a', 0, 2), stateAfter(false))).toEqual({ tries: { counted: 2, shown: 2 }, suspect: false })
    const message = delivered('2', 'b', 1)
    suspicion.gaveBack('2', message, { counted: 1, shown: 1 }, true)
    expect(judge(delivered('2', 'b', 2), stateAfter(false))).toMatchObject({ tries: { counted: 1, shown: 2 }, suspect: false })
  })

  it('is judged by the tries that the log has of it', () => {
    const state = stateAfter(false, { 1: { counted: 2, shown: 2 } })
    expect(judge(delivered('1', 'a', 5), state)).toEqual({ tries: { counted: 2, shown: 2 }, suspect: true })
  })

  it('is asked anew on a new channel', () => {
    judge(delivered('1', 'a', 1), stateAfter(false))
    suspicion.begin()
    expect(judge(delivered('2', 'a', 1), stateAfter(false)).suspect).toBe(true)
  })

  it('is anybody again once more keys have come than one can have held: nothing is kept for every key there ever was', () => {
    judge(delivered('1', 'a', 1), stateAfter(false))
    for (let n = 0; n < 10_000; n += 1) judge(delivered(`${n}`, `key-${n}`, 0), stateAfter(false))
    expect(judge(delivered('2', 'a', 1), stateAfter(false)).suspect).toBe(true)
  })
})
