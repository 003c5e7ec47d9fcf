import { setTimeout as pause } from 'node:timers/promises'
import type { Failure, Stage } from './failure.ts'
import { closeInspector, inside } from './inside.ts'

/** Turns of 20 ms, one after the other: it still answers, late. */
const compute = `
globalThis.rehearsal = { stop: false }
const work = () => {
  for (const until = performance.now() + 20; performance.now() < until; );
  if (!globalThis.rehearsal.stop) setImmediate(work)
}
work()`

/** Writes until a line is lost, in one turn of the event loop. Resolves with the number of lines lost. */
const babble = `
const { createLogger } = process.getBuiltinModule('node:module').createRequire(process.cwd() + '/')('@platform/logger')
const logger = createLogger({ name: 'rehearsal' })
const much = 'x'.repeat(8_000)
for (const until = performance.now() + 5_000; logger.stats().dropped === 0 && performance.now() < until; )
  logger.info({ much, more: much, evenMore: much, tooMuch: much }, 'more than whoever reads it can take')
logger.stats().dropped`

/** Orders all the time until it is told to stop. */
function orderOn({ customers: { order } }: Stage, atOnce: number): () => Promise<void> {
  let isOn = true
  const ordering = (async () => {
    for (; isOn; await pause(100)) await order(atOnce)
  })()
  return async () => {
    isOn = false
    await ordering
  }
}

export const ofServices: readonly Failure[] = [
  {
    what: 'one of two instances is stopped',
    isCore: true,
    alerts: [{ labels: { alertname: 'InstanceDown', job: 'orders-api', instance: 'orders-api-2' }, to: 'ticket' }],
    async inject({ compose }) {
      await compose('stop', 'orders-api-2')
      return () => compose('start', 'orders-api-2')
    },
  },
  {
    what: 'the catalog stands still',
    alerts: [
      { labels: { alertname: 'ServiceDown', job: 'catalog-api' }, to: 'page' },
      { labels: { alertname: 'BreakerOpen', job: 'orders-api', policy: 'catalog-api' }, to: 'ticket' },
    ],
    async inject(stage) {
      const catalog = ['catalog-api-1', 'catalog-api-2']
      await stage.compose('pause', ...catalog)
      const stop = orderOn(stage, 30)
      return async () => {
        await stage.compose('unpause', ...catalog)
        await stop()
      }
    },
  },
  {
    what: 'a process computes without a pause',
    alerts: [{ labels: { alertname: 'EventLoopBusy', job: 'identity-api' }, to: 'ticket' }],
    async inject({ compose }) {
      await inside(compose, 'identity-api', compute)
      return async () => {
        await inside(compose, 'identity-api', 'globalThis.rehearsal.stop = true')
        await closeInspector(compose, 'identity-api')
      }
    },
  },
  {
    what: 'a process writes more lines than are read',
    alerts: [{ labels: { alertname: 'LogLinesLost', job: 'identity-api' }, to: 'ticket' }],
    async inject({ compose }) {
      const lost = await inside(compose, 'identity-api', babble)
      await closeInspector(compose, 'identity-api')
      if (!(Number(lost) > 0)) throw new Error(`no line was lost: ${lost}`)
      return async () => {}
    },
  },
]
