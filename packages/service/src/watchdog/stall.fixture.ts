/** A service whose event loop stands still for a while after its first line of input, for watchdog.test.ts. */
import { createService } from '../index.ts'

function countFilmsForTooLong(ms: number): number {
  const until = performance.now() + ms
  let films = 0
  while (performance.now() < until) films += Math.sqrt(films + 1)
  return films
}

const say = (event: object): void => console.log(JSON.stringify(event))
const service = createService({
  name: 'stalling',
  components: {},
  watchdog: { port: 0, stallMs: 300, failAfterMs: 900 },
  onEvent: (event) => {
    if (event.type === 'stalled') say(event)
  },
})
await service.start()
say({ type: 'up', port: service.watchdogPort })
process.stdin.once('data', (data) => {
  countFilmsForTooLong(Number(data))
  say({ type: 'back' })
})
process.stdin.once('end', () => void service.stop('end'))
