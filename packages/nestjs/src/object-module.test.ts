import 'reflect-metadata'
import { type DynamicModule, Injectable, Module, type Type } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { Test } from '@nestjs/testing'
import { component, createService } from '@platform/service'
import { afterEach, describe, expect, it } from 'vitest'
import { injectable } from './film-app.fixture.ts'
import { nestHttp } from './http.ts'
import {
  nestContext,
  PlatformCache,
  PlatformCacheModule,
  PlatformConfig,
  PlatformConfigModule,
  PlatformDb,
  PlatformDbModule,
  PlatformModule,
} from './index.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0)) await clean()
})

/** What lives long, and says when. */
function made<T>(name: string, life: string[]): T {
  const object = {
    name,
    ready: async () => void life.push(`${name} ready`),
    close: async () => void life.push(`${name} closed`),
  }
  return object as T
}

async function context(imports: DynamicModule[], providers: Type[] = []) {
  class AppModule {}
  Module({ imports, providers })(AppModule)
  const app = await NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false })
  cleanups.push(() => app.close())
  return app
}

describe('a module for one object', () => {
  it('injects what was given and leaves its life to whoever made it', async () => {
    const life: string[] = []
    const db = made<PlatformDb>('db', life)
    const app = await context([PlatformDbModule.forRoot(db)])
    await app.init()
    expect(app.get(PlatformDb)).toBe(db)
    await app.close()
    expect(life).toEqual([])
  })

  it('makes one from others, awaits it before the application, and closes it with it', async () => {
    const life: string[] = []
    class Films {
      readonly db: PlatformDb
      constructor(db: PlatformDb) {
        this.db = db
      }
      onModuleInit(): void {
        life.push('films')
      }
    }
    Injectable()(Films)
    injectable(Films, PlatformDb)
    const app = await context(
      [
        PlatformConfigModule.forRoot({ current: { url: 'db.films' } } as PlatformConfig),
        PlatformDbModule.forRootAsync({
          inject: [PlatformConfig],
          useFactory: async (config: PlatformConfig<{ url: string }>) => made<PlatformDb>(config.current.url, life),
        }),
      ],
      [Films],
    )
    await app.init()
    expect(app.get(Films).db).toMatchObject({ name: 'db.films' })
    expect(life).toEqual(['db.films ready', 'films'])
    await app.close()
    expect(life.slice(2)).toEqual(['db.films closed'])
  })

  it('in a test `overrideProvider` is what is injected, and what lives', async () => {
    const life: string[] = []
    const testing = await Test.createTestingModule({
      imports: [PlatformDbModule.forRootAsync({ useFactory: () => made<PlatformDb>('real', life) })],
    })
      .overrideProvider(PlatformDb)
      .useValue(made('fake', life))
      .compile()
    await testing.init()
    await testing.close()
    expect(life).toEqual(['fake ready', 'fake closed'])
  })

  it('a factory that gives nothing, and an object that is not ready, fail the start', async () => {
    await expect(context([PlatformDbModule.forRootAsync({ useFactory: () => undefined as never })])).rejects.toMatchObject({
      code: 'ERR_NESTJS_OPTION',
      message: expect.stringContaining('PlatformDbModule'),
    })
    const refused = { ready: () => Promise.reject(new Error('refused')), close: async () => {} } as unknown as PlatformDb
    await expect(context([PlatformDbModule.forRootAsync({ useFactory: () => refused })])).rejects.toThrow('refused')
  })

  it('a service that is stopped while it waits for one does not wait any more', async () => {
    const waiting = Promise.withResolvers<void>()
    const away = {
      ready: ({ signal }: { signal: AbortSignal }) =>
        new Promise((_resolve, reject) => {
          waiting.resolve()
          signal.addEventListener('abort', () => reject(signal.reason as Error))
        }),
      close: async () => {},
    } as unknown as PlatformDb
    class AppModule {}
    Module({ imports: [PlatformDbModule.forRootAsync({ useFactory: () => away })] })(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false })
    const http = nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0 })
    const service = createService({ name: 'films', components: { http } })
    const started = service.start().then(
      () => 'started',
      (error: { code?: string }) => error.code,
    )
    await waiting.promise
    const from = performance.now()
    expect(await service.stop('test')).toMatchObject({ cut: [], failed: [] })
    expect(performance.now() - from).toBeLessThan(5_000)
    expect(await started).toBe('ERR_SERVICE_STOPPED')
  })
})

describe('a context in a service', () => {
  it('is made after what it needs, and closed before that', async () => {
    const life: string[] = []
    const broker = made<object>('broker', life) as { close(): Promise<void> }
    const db = () => made<PlatformDb>('db', life)
    const app = nestContext(() => context([PlatformDbModule.forRootAsync({ useFactory: db })]))
    const service = createService({ name: 'films', components: { broker, app: component(app, { needs: ['broker'] }) } })
    await service.start()
    expect(life).toEqual(['broker ready', 'db ready'])
    expect(await service.stop('test')).toMatchObject({ cut: [], failed: [] })
    expect(life.slice(2)).toEqual(['db closed', 'broker closed'])
  })

  it('owns no signal of its own, though it asked for them', async () => {
    class AppModule {}
    Module({})(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false })
    const before = process.listenerCount('SIGTERM')
    app.enableShutdownHooks()
    expect(process.listenerCount('SIGTERM')).toBe(before + 1)
    await using http = nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0 })
    expect(process.listenerCount('SIGTERM')).toBe(before)
    expect(app.enableShutdownHooks()).toBe(app)
    await http.ready()
    app.enableShutdownHooks()
    expect(process.listenerCount('SIGTERM')).toBe(before)
  })

  it('whose making fails leaves nothing open of what was made by then', async () => {
    const life: string[] = []
    const refused = { ready: () => Promise.reject(new Error('refused')), close: async () => void life.push('cache closed') }
    const modules = [
      PlatformDbModule.forRootAsync({ useFactory: () => made<PlatformDb>('db', life) }),
      PlatformCacheModule.forRootAsync({ useFactory: () => refused as unknown as PlatformCache }),
    ]
    const service = createService({ name: 'films', components: { app: nestContext(() => context(modules)) } })
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_START_FAILED' })
    expect(life).toContain('db ready')
    expect(life.slice(-2).toSorted()).toEqual(['cache closed', 'db closed'])
  })

  it('that is stopped while it is made does not wait for what is away', async () => {
    const waiting = Promise.withResolvers<void>()
    const life: string[] = []
    const away = {
      ready: ({ signal }: { signal: AbortSignal }) =>
        new Promise((_resolve, reject) => {
          waiting.resolve()
          signal.addEventListener('abort', () => reject(signal.reason as Error))
        }),
      close: async () => void life.push('closed'),
    } as unknown as PlatformDb
    const app = nestContext(() => context([PlatformDbModule.forRootAsync({ useFactory: () => away })]))
    const service = createService({ name: 'films', components: { app } })
    const started = service.start().catch((error: { code?: string }) => error.code)
    await waiting.promise
    const from = performance.now()
    expect(await service.stop('test')).toMatchObject({ cut: [], failed: [] })
    expect(performance.now() - from).toBeLessThan(5_000)
    expect(await started).toBe('ERR_SERVICE_STOPPED')
    expect(life).toEqual(['closed'])
  })

  it('that cannot be made fails the start, and is closed without a complaint', async () => {
    const app = nestContext(() => Promise.reject(new Error('no module')))
    const service = createService({ name: 'films', components: { app } })
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_START_FAILED' })
    expect(await service.stop('again')).toMatchObject({ cut: [], failed: [] })
  })
})

describe('PlatformModule.forRootAsync', () => {
  it('gives the objects that it names, from one factory', async () => {
    const life: string[] = []
    const app = await context([
      PlatformConfigModule.forRoot({ current: { prefix: 'film' } } as PlatformConfig),
      PlatformModule.forRootAsync({
        inject: [PlatformConfig],
        provides: ['db', 'cache'],
        useFactory: ({ current }: PlatformConfig<{ prefix: string }>) => ({
          db: made<PlatformDb>(`${current.prefix}-db`, life),
          cache: made<PlatformCache>(`${current.prefix}-cache`, life),
        }),
      }),
    ])
    await app.init()
    expect([app.get(PlatformDb), app.get(PlatformCache)]).toMatchObject([{ name: 'film-db' }, { name: 'film-cache' }])
    await app.close()
    expect(life.toSorted()).toEqual(['film-cache closed', 'film-cache ready', 'film-db closed', 'film-db ready'])
  })

  it('says what the factory owes', async () => {
    const owing = PlatformModule.forRootAsync({ provides: ['db'], useFactory: () => ({}) as never })
    await expect(context([owing])).rejects.toMatchObject({ code: 'ERR_NESTJS_OPTION', message: expect.stringContaining('must give db') })
    expect(() => PlatformModule.forRootAsync({ provides: ['database' as 'db'], useFactory: () => ({}) as never })).toThrow(
      expect.objectContaining({ code: 'ERR_NESTJS_OPTION', message: expect.stringContaining('database') }),
    )
  })

  it.each<[string, () => unknown]>([
    ['useFactry', () => PlatformDbModule.forRootAsync({ useFactry: () => ({}) } as never)],
    ['useFactory', () => PlatformDbModule.forRootAsync({} as never)],
    ['useFactory', () => PlatformModule.forRootAsync({ provides: ['db'] } as never)],
    ['provides', () => PlatformModule.forRootAsync({ useFactory: () => ({}) } as never)],
    ['useClass', () => PlatformModule.forRootAsync({ useClass: class {} } as never)],
    ['db', () => PlatformModule.forRoot({ db: 'postgres://' } as never)],
  ])('names a wrong %s before the application is made', (name, call) => {
    expect(call).toThrow(expect.objectContaining({ code: 'ERR_NESTJS_OPTION', message: expect.stringContaining(name) }))
  })

  it('beside modules of single objects is one application: what they import of ours is there once', async () => {
    const app = await context([PlatformModule.forRoot({}), PlatformCacheModule.forRoot({} as PlatformCache)])
    await expect(app.init()).resolves.toBeDefined()
  })
})
