/** A service in a process of its own, for run.test.ts: `node run.fixture.ts <mode> <port>`. Prints what happens, one JSON line each. */
import { createServer } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { httpServer } from './http/index.ts'
import { type Component, component, createService } from './index.ts'

const [mode = 'plain', port = '0'] = process.argv.slice(2)
// Where there is no room for it, it is told at the other one.
const output = mode === 'no-room' ? process.stderr : process.stdout
const say = (event: string, fields: object = {}) => void output.write(`${JSON.stringify({ event, ...fields })}\n`)
const line = (fields: object, message?: string) => say('log', { message, ...fields, err: String((fields as { err?: unknown }).err) })

const http = httpServer(
  createServer((_request, response) => void delay(20).then(() => response.end('ok'))),
  { port: Number(port), host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 400 },
)
const db: Component & { reload(): Promise<void> } = {
  async reload() {
    say('reloaded')
  },
  async ready(options) {
    if (mode === 'slow-start') {
      say('starting')
      await delay(60_000, undefined, { signal: options?.signal })
    }
    if (mode === 'steps') {
      for (let step = 1; step <= 18; step++) {
        say(`step ${step}`)
        await delay(5, undefined, { signal: options?.signal })
      }
    }
    if (mode === 'bad-start') throw new Error('database refused')
  },
  async drain(options) {
    if (mode === 'slow-drain') await delay(60_000, undefined, { signal: options?.signal })
  },
  async close() {
    if (mode === 'stuck-close') await delay(60_000)
    say('db closed')
  },
}
if (mode.startsWith('early')) {
  say('loading')
  await delay(500)
}
const service = createService({
  name: 'fixture',
  gracePeriodMs: mode === 'held' ? 3_000 : 20_000,
  components: { db, http: component(http, { needs: ['db'] }) },
  logger: { debug() {}, info: line, warn: line, error: line },
})
// What a service has in flight goes on writing while nobody reads.
const beat = mode === 'talks' || mode === 'no-room' ? setInterval(() => process.stdout.write('{"event":"beat"}\n'), 20) : undefined
if (mode === 'held') setInterval(() => {}, 1_000)
const running = service.run()
void service.start().then(
  () => {
    say('ready', { port: http.port })
    if (mode === 'stopped-by-code') void service.stop('by code')
    if (mode === 'throws')
      setTimeout(() => {
        throw new Error('bug')
      })
    if (mode === 'rejects') void Promise.reject(new Error('bug'))
  },
  () => {},
)
await running.finally(() => clearInterval(beat))
say('run resolved')
