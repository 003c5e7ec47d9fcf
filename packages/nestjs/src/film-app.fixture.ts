/** A small Nest application, its decorators called as functions: the sources know no decorator syntax. */
import 'reflect-metadata'
import { PassThrough } from 'node:stream'
import {
  Body,
  ConflictException,
  Controller,
  Get,
  HttpException,
  Inject,
  type INestApplication,
  Module,
  Param,
  Post,
  type Type,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { createLogger, type Logger } from '@platform/logger'
import { z } from 'zod'
import { nestLogger, PlatformModule, type PlatformModuleOptions, ZodPipe } from './index.ts'

interface Order {
  film: number
  items?: { count: number }[] | undefined
}
const order: z.ZodType<Order> = z.object({ film: z.number().int(), items: z.array(z.object({ count: z.number().positive() })).optional() })

export function method(target: Type, name: string, decorators: MethodDecorator[], parameters: ParameterDecorator[] = []): void {
  const descriptor = Object.getOwnPropertyDescriptor(target.prototype, name) as PropertyDescriptor
  for (const decorate of decorators) decorate(target.prototype, name, descriptor)
  for (const [index, decorate] of parameters.entries()) decorate(target.prototype, name, index)
}

/** What a compiler with `emitDecoratorMetadata` leaves for classes, and `@Inject` for names. */
export function injectable(target: Type, ...tokens: (string | object)[]): void {
  Reflect.defineMetadata(
    'design:paramtypes',
    tokens.map((token) => (typeof token === 'string' ? Object : token)),
    target,
  )
  for (const [index, token] of tokens.entries()) if (typeof token === 'string') Inject(token)(target, undefined, index)
}

export class FilmsController {
  place(id: string, body: Order): { id: string; film: number } {
    return { id, film: body.film }
  }
  fail(kind: string): string {
    if (kind === 'conflict') throw new ConflictException('sold out')
    if (kind === 'busy') throw new HttpException({ message: 'come back later' }, 503)
    if (kind === 'zod') order.parse({ film: 'x' })
    if (kind === 'bug') throw new Error('password hunter2 refused by db-7.internal')
    if (kind === 'text') throw 'not an error'
    return kind
  }
}
Controller('films')(FilmsController)
method(FilmsController, 'place', [Post(':id/orders')], [Param('id'), Body(new ZodPipe(order))])
method(FilmsController, 'fail', [Get('fail/:kind')], [Param('kind')])

export interface LogLine {
  readonly level: number | string
  readonly msg?: string
  readonly [field: string]: unknown
}

export async function filmApp(
  options: PlatformModuleOptions = {},
  controllers: Type[] = [FilmsController],
): Promise<{ app: INestApplication; logger: Logger; lines: LogLine[] }> {
  const lines: LogLine[] = []
  const destination = new PassThrough()
  let rest = ''
  destination.on('data', (chunk) => {
    const complete = (rest + String(chunk)).split('\n')
    rest = complete.pop() ?? ''
    lines.push(...complete.map((line) => JSON.parse(line) as LogLine))
  })
  const logger = createLogger({ name: 'films', level: 'debug', destination })
  class AppModule {}
  Module({ imports: [PlatformModule.forRoot({ logger, ...options })], controllers })(AppModule)
  const app = await NestFactory.create(AppModule, { logger: nestLogger(logger), abortOnError: false })
  return { app, logger, lines }
}
