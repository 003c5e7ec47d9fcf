import { Controller, Get, type Type } from '@nestjs/common'
import { createCache } from '@platform/cache'
import { memory as memoryCache } from '@platform/cache/memory'
import { type Config, defineConfig } from '@platform/config'
import { createDbPool } from '@platform/db-pool'
import { createDiscovery } from '@platform/discovery'
import { staticInstances } from '@platform/discovery/static'
import { createHealth } from '@platform/health'
import { createBroker } from '@platform/queue'
import { memory as memoryQueue } from '@platform/queue/memory'
import { component, createService } from '@platform/service'
import { testPostgres } from '@platform/stack/testing'
import { startTelemetry } from '@platform/telemetry'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { filmApp, injectable, method } from './film-app.fixture.ts'
import { nestHttp } from './http.ts'
import {
  componentToken,
  PlatformBroker,
  PlatformCache,
  PlatformConfig,
  PlatformDb,
  PlatformDiscovery,
  PlatformHealth,
  PlatformLogger,
  PlatformModule,
  PlatformTelemetry,
} from './index.ts'

class Everything {
  readonly config: PlatformConfig<{ greeting: string }>
  readonly db: PlatformDb
  readonly cache: PlatformCache
  readonly rest: readonly object[]
  constructor(config: PlatformConfig<{ greeting: string }>, db: PlatformDb, cache: PlatformCache, ...rest: object[]) {
    this.config = config
    this.db = db
    this.cache = cache
    this.rest = rest
  }
  async greet(): Promise<object> {
    const answer = await this.cache.getOrSet('answer', async () => (await this.db.query<{ n: number }>('select 42 as n')).rows[0]?.n)
    return { greeting: this.config.current.greeting, answer }
  }
}

it('injects the objects of a service everywhere, and leaves starting and closing to it', async () => {
  await using postgres = await testPostgres()
  const definition = defineConfig({ schema: z.object({ greeting: z.string() }) })
  const config: Config<{ greeting: string }> = await definition.load({
    sources: [{ name: 'test', read: async () => ({ greeting: 'hello' }) }],
  })
  const telemetry = startTelemetry({ service: 'films' })
  const db = createDbPool({ url: postgres.url })
  const cache = createCache({ namespace: 'films', l1: memoryCache({ maxBytes: 1e6 }), ttlMs: 60_000 })
  const broker = createBroker({ driver: memoryQueue(), service: 'films' })
  const discovery = createDiscovery({ registry: staticInstances({}) })
  const health = createHealth({ checks: { db: { kind: 'critical', run: (options) => db.check(options) } } })
  const mailer = { close: async () => {} }

  injectable(
    Everything as unknown as Type,
    PlatformConfig,
    PlatformDb,
    PlatformCache,
    PlatformBroker,
    PlatformDiscovery,
    PlatformHealth,
    PlatformLogger,
    PlatformTelemetry,
    componentToken('mailer'),
  )
  Controller()(Everything)
  method(Everything as unknown as Type, 'greet', [Get('greet')])
  const { app, logger } = await filmApp({ config, telemetry, db, cache, broker, discovery, health, components: { mailer } }, [
    Everything as unknown as Type,
  ])
  const http = nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 50, inbound: [telemetry.inbound] })
  const service = createService({
    name: 'films',
    components: { config, telemetry, db, cache, broker, discovery, mailer, http: component(http, { needs: ['db', 'cache', 'broker'] }) },
    health,
    logger,
  })
  await service.start()
  expect(await (await fetch(`http://127.0.0.1:${http.port}/greet`)).json()).toEqual({ greeting: 'hello', answer: 42 })
  const { config: seen, db: injectedDb, cache: injectedCache, rest } = app.get(Everything)
  expect([seen, injectedDb, injectedCache, ...rest]).toEqual([config, db, cache, broker, discovery, health, logger, telemetry, mailer])
  for (const [index, object] of [broker, discovery, health, logger, telemetry, mailer].entries()) expect(rest[index]).toBe(object)
  expect(await service.stop('test')).toMatchObject({ cut: [], failed: [] })
  await expect(db.query('select 1')).rejects.toMatchObject({ name: 'DbPoolError' })
  await logger.close()
})

it('names an unknown option', () => {
  expect(() => PlatformModule.forRoot({ database: {} } as never)).toThrow(
    expect.objectContaining({ code: 'ERR_NESTJS_OPTION', message: expect.stringContaining('database') }),
  )
})
