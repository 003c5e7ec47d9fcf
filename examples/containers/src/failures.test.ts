import { alertReceivers } from '@film-store/operations'
import { describe, expect, it } from 'vitest'
import { failures, failuresFor } from './failures.ts'

describe('every alert', () => {
  // It fires while nothing is broken.
  const quiet = [...alertReceivers.keys()].filter((name) => name !== 'Watchdog')

  it.each(quiet)('%s is rehearsed', (name) => {
    expect(failuresFor([name])).not.toEqual([])
  })

  it('that is rehearsed is one that there is, and goes where its severity says', () => {
    const expected = failures.flatMap(({ alerts }) => alerts.map(({ labels, to }) => [labels.alertname, to]))
    expect(expected).toEqual(expected.map(([name]) => [name, alertReceivers.get(name!)]))
  })
})

describe('failures', () => {
  it('are chosen by the alerts that follow from them', () => {
    expect(failuresFor([])).toEqual(failures)
    expect(failuresFor(['OutboxLags']).map(({ what }) => what)).toEqual(['the broker is gone'])
    expect(failuresFor(['ReplicationLags', 'DiskFills']).map(({ store }) => store)).toEqual(['ha', undefined])
  })

  it('of an alert that there is not are refused', () => {
    expect(() => failuresFor(['DiskFills', 'DiskFull'])).toThrow('no failure is known to be followed by DiskFull')
  })

  it('are told apart', () => {
    expect(new Set(failures.map(({ what }) => what)).size).toBe(failures.length)
  })
})
