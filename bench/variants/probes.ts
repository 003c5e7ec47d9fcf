/** `node variants/probes.ts <variant>`: twenty checks, one of which hangs; prints how long readiness takes to answer a hundred probes, ms each. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

const [variant] = process.argv.slice(2)
const probes = 100
const giveUpMs = 1_000
const checks = Array.from({ length: 20 }, (_, index) => (index === 7 ? () => new Promise<never>(() => {}) : () => Promise.resolve()))

async function serve(): Promise<{ server: Server; path: string }> {
  if (variant === 'ours') {
    const { createHealth } = await import('@platform/health')
    const run = (check: () => Promise<void>) => ({ kind: 'optional', run: check, timeoutMs: 200 }) as const
    const health = createHealth({ checks: Object.fromEntries(checks.map((check, index) => [`c${index}`, run(check)])) })
    health.setState('ready')
    return { server: createServer(health.handler), path: '/ready' }
  }
  if (variant === '@godaddy/terminus') {
    const { createTerminus } = await import('@godaddy/terminus')
    const all = () => Promise.all(checks.map((check) => check()))
    return { server: createTerminus(createServer(), { healthChecks: { '/ready': all } }), path: '/ready' }
  }
  await import('reflect-metadata')
  const { Controller, Get, Inject, Module } = await import('@nestjs/common')
  const { NestFactory } = await import('@nestjs/core')
  const { HealthCheckService, TerminusModule } = await import('@nestjs/terminus')
  class Probe {
    readonly health: InstanceType<typeof HealthCheckService>
    constructor(health: InstanceType<typeof HealthCheckService>) {
      this.health = health
    }
    ready(): Promise<unknown> {
      return this.health.check(checks.map((check, index) => async () => (await check(), { [`c${index}`]: { status: 'up' as const } })))
    }
  }
  Controller()(Probe)
  Inject(HealthCheckService)(Probe, undefined, 0)
  Get('ready')(Probe.prototype, 'ready', Object.getOwnPropertyDescriptor(Probe.prototype, 'ready')!)
  class AppModule {}
  Module({ imports: [TerminusModule], controllers: [Probe] })(AppModule)
  const app = await NestFactory.create(AppModule, { logger: false })
  await app.init()
  return { server: app.getHttpServer() as Server, path: '/ready' }
}

const { server, path } = await serve()
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`
const timesMs: number[] = []
let unanswered = 0
for (let probe = 0; probe < probes && unanswered < 3; probe++) {
  const from = performance.now()
  const answered = await fetch(url, { signal: AbortSignal.timeout(giveUpMs) }).then(
    (response) => response.text().then(() => true),
    () => false,
  )
  if (!answered) unanswered++
  timesMs.push(performance.now() - from)
}
timesMs.sort((a, b) => a - b)
console.log(JSON.stringify({ p99Ms: timesMs[Math.floor(timesMs.length * 0.99)], unanswered }))
process.exit()
