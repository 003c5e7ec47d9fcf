import { parse as parseForm } from 'node:querystring'
import { BadRequestException, type INestApplication } from '@nestjs/common'
import { fastifyInbound } from '@platform/service/http'
import { bodyErrors, onlyContentTypes } from './body-rules.ts'
import { NestjsError } from './errors.ts'

export interface BodyOptions {
  /** Largest body that is parsed; a larger one is answered with 413. Default 102 400. */
  bodyLimitBytes?: number | undefined
  /**
   * Types of bodies that are let in, others get 415. Default: JSON and forms. `*` in a type stands for anything. Express only: Fastify lets in
   * what it has a parser for, `app.useBodyParser(type, …)`.
   */
  contentTypes?: readonly string[] | undefined
}

const defaultContentTypes = ['application/json', 'application/*+json', 'application/x-www-form-urlencoded']

/** The members of NestExpressApplication that are used. */
interface ExpressApplication extends INestApplication {
  useBodyParser(type: 'json' | 'urlencoded', options: { limit: number; extended?: boolean; type?: string[] }): unknown
}

/** The members of NestFastifyApplication that are used. */
interface FastifyApplication extends INestApplication {
  useBodyParser(type: string | RegExp, options: { bodyLimit: number }, parser: BodyParser): unknown
}

type BodyParser = (request: unknown, body: Buffer, done: (error: Error | null, body?: unknown) => void) => void

interface FastifyInstance {
  getDefaultJsonParser(onProtoPoisoning: 'error', onConstructorPoisoning: 'error'): BodyParser
  register(plugin: ReturnType<typeof fastifyInbound>): unknown
  ready(): PromiseLike<unknown>
}

/** Body rules of the application's adapter; returns what has to be awaited between Nest's init and the first request. */
export function prepareAdapter(app: INestApplication, { bodyLimitBytes = 102_400, contentTypes }: BodyOptions): () => Promise<void> {
  if (!Number.isInteger(bodyLimitBytes) || bodyLimitBytes < 1) {
    throw new NestjsError('ERR_NESTJS_OPTION', 'nestHttp: bodyLimitBytes must be a whole number of at least 1')
  }
  if (contentTypes !== undefined && (!Array.isArray(contentTypes) || contentTypes.some((type) => typeof type !== 'string'))) {
    throw new NestjsError('ERR_NESTJS_OPTION', 'nestHttp: contentTypes must be a list of strings')
  }
  const adapter: { getType(): string } = app.getHttpAdapter()
  const type = adapter.getType()
  if (type === 'express') return prepareExpress(app as ExpressApplication, bodyLimitBytes, contentTypes ?? defaultContentTypes)
  if (type !== 'fastify') {
    const message = `nestHttp works with @nestjs/platform-express and @nestjs/platform-fastify, this application runs on ${type}`
    throw new NestjsError('ERR_NESTJS_ADAPTER', message)
  }
  if (contentTypes !== undefined) {
    throw new NestjsError('ERR_NESTJS_OPTION', 'nestHttp: contentTypes is for Express; with Fastify give app.useBodyParser the types')
  }
  return prepareFastify(app as FastifyApplication, bodyLimitBytes)
}

function prepareExpress(app: ExpressApplication, limit: number, contentTypes: readonly string[]): () => Promise<void> {
  app.use(onlyContentTypes(contentTypes))
  app.useBodyParser('json', { limit, type: ['application/json', 'application/*+json'] })
  app.useBodyParser('urlencoded', { limit, extended: true })
  app.use(bodyErrors)
  return () => Promise.resolve()
}

function prepareFastify(app: FastifyApplication, bodyLimit: number): () => Promise<void> {
  const fastify = app.getHttpAdapter().getInstance() as FastifyInstance
  const json = fastify.getDefaultJsonParser('error', 'error')
  // Nest 11 has no parsers of its own for a type that is given a limit: handlers would get the bytes. The parser's error quotes the body.
  const parser: BodyParser = (request, body, done) =>
    json(request, body, (error, parsed) => done(error && new BadRequestException('the body is not valid JSON'), parsed))
  app.useBodyParser('application/json', { bodyLimit }, parser)
  app.useBodyParser(/^application\/[^;]+\+json(;|$)/, { bodyLimit }, parser)
  app.useBodyParser('application/x-www-form-urlencoded', { bodyLimit }, (_request, body, done) =>
    done(null, { ...parseForm(String(body)) }),
  )
  // For the routes' templates; the hooks run around the server itself.
  fastify.register(fastifyInbound([]))
  return async () => void (await fastify.ready())
}
