import { describe, expect, it } from 'vitest'
import { QueueError } from '../errors.ts'
import { Ledger, readLedgerLine, type LedgerEntry } from './ledger.ts'

function read(...entries: LedgerEntry[]): ReturnType<Ledger['audit']> {
  const ledger = new Ledger({ groups: ['g'], ordered: ['g'] })
  for (const entry of entries) ledger.record(entry)
  return ledger.audit()
}

const publish = (id: string, key = 'k'): LedgerEntry[] => [
  { did: 'publish', id, key },
  { did: 'confirm', id },
]
const did = (what: 'begin' | 'handle' | 'fail' | 'bury' | 'replay' | 'discard', id: string): LedgerEntry => ({ did: what, id, group: 'g' })

describe('the ledger', () => {
  it('is clean when every confirmed message took effect once, in order', () => {
    const audit = read(...publish('1'), ...publish('2'), did('begin', '1'), did('handle', '1'), did('begin', '2'), did('handle', '2'))
    expect(audit).toMatchObject({ clean: true, messages: 2, confirmed: 2, repeated: 0 })
  })

  it('finds what is lost, and owes nothing for what was refused or is uncertain', () => {
    expect(read(...publish('1')).lost).toEqual(['g: 1'])
    expect(read({ did: 'publish', id: '1' }, { did: 'refuse', id: '1' }).clean).toBe(true)
    expect(read({ did: 'publish', id: '1' }, { did: 'lose-track', id: '1' }, did('begin', '1'), did('handle', '1')).clean).toBe(true)
    expect(read(...publish('1'), did('begin', '1'), did('fail', '1')).lost).toEqual(['g: 1'])
    expect(read(...publish('1'), did('begin', '1'), did('bury', '1'), did('replay', '1')).lost).toEqual(['g: 1'])
  })

  it('finds double effects, wrong order, untried dead letters and effects of nothing', () => {
    expect(read(...publish('1'), did('handle', '1'), did('handle', '1')).doubled).toEqual(['g: 1'])
    expect(read(...publish('1'), ...publish('2'), did('handle', '2'), did('handle', '1')).reordered).toEqual(['g: 1'])
    expect(read(...publish('1', 'a'), ...publish('2', 'b'), did('handle', '2'), did('handle', '1')).clean).toBe(true)
    expect(read(...publish('1'), did('bury', '1')).untried).toEqual(['g: 1'])
    expect(read(did('handle', '1')).unaccounted).toEqual(['g: 1'])
    expect(read({ did: 'publish', id: '1' }, { did: 'refuse', id: '1' }, did('handle', '1')).unaccounted).toEqual(['g: 1'])
  })

  it('keeps the books of publishes and handlers', async () => {
    const ledger = new Ledger({ groups: ['g'] })
    await ledger.publish('1', undefined, async () => {})
    const lost = new QueueError('ERR_QUEUE_INDETERMINATE')
    await expect(ledger.publish('2', undefined, () => Promise.reject(lost))).rejects.toBe(lost)
    expect(ledger.outstanding('g')).toEqual(['1'])
    let fail = true
    const handler = ledger.watch<number>('g', async () => {
      if (fail) throw new Error('no')
    })
    const delivery = { id: '1', body: 1, attempt: 1, headers: {}, publishedAt: new Date() }
    const context = { signal: new AbortController().signal }
    await expect(handler(delivery, context)).rejects.toThrow('no')
    fail = false
    await handler(delivery, context)
    expect(ledger.audit()).toMatchObject({ clean: true, repeated: 1, messages: 2, confirmed: 1 })
  })

  it('reads the lines of other processes', () => {
    expect(readLedgerLine(JSON.stringify(did('begin', '1')))).toEqual(did('begin', '1'))
    expect(readLedgerLine('ready')).toBeUndefined()
    expect(readLedgerLine('{"did":')).toBeUndefined()
  })
})
