import { createRequire } from 'node:module'
import 'reflect-metadata'
import { Body, Controller, Get, Module, Post, Query } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger'
import { expect, it } from 'vitest'
import { z } from 'zod'
import { method } from './film-app.fixture.ts'
import { PlatformModule, ZodPipe } from './index.ts'

const { version } = createRequire(import.meta.url)('@nestjs/core/package.json') as { version: string }
/** Schemas of parameters came with 12. */
const nest11 = version.startsWith('11.')

const order = z.object({ film: z.int().positive(), copies: z.number().max(10).default(1) })
const page = z.object({ after: z.string().max(20).optional() })

class Orders {
  place(body: z.output<typeof order>): object {
    return body
  }
  list(query: z.output<typeof page>): object {
    return query
  }
}
Controller('orders')(Orders)
method(Orders, 'place', [Post()], [(Body as (options: object) => ParameterDecorator)({ schema: order })])
method(Orders, 'list', [Get()], [(Query as (options: object) => ParameterDecorator)({ schema: page })])

// What a compiler with `emitDecoratorMetadata` leaves.
for (const name of ['place', 'list']) Reflect.defineMetadata('design:paramtypes', [Object], Orders.prototype, name)

it.skipIf(nest11)('one zod schema checks a body, makes its problem, and stands in the OpenAPI document', async () => {
  class AppModule {}
  Module({ imports: [PlatformModule.forRoot({})], controllers: [Orders] })(AppModule)
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false })
  app.useGlobalPipes(new ZodPipe())
  await app.listen(0, '127.0.0.1')
  try {
    const url = `${await app.getUrl()}/orders`
    const post = async (body: object) => {
      const response = await fetch(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
      return (await response.json()) as object
    }
    expect(await post({ film: 7 })).toEqual({ film: 7, copies: 1 })
    expect(await post({ film: 0, copies: 11 })).toMatchObject({
      status: 400,
      errors: [{ pointer: '#/film' }, { pointer: '#/copies' }],
    })
    expect(await (await fetch(`${url}?after=${'x'.repeat(21)}`)).json()).toMatchObject({ errors: [{ pointer: '#/after' }] })

    const document = SwaggerModule.createDocument(app, new DocumentBuilder().build())
    const text = JSON.stringify(document.paths['/orders'])
    const schemas = JSON.stringify(document.components?.schemas ?? {})
    expect(text + schemas).toContain('"film"')
    expect(text + schemas).toContain('"maximum":10')
    expect(text).toContain('"maxLength":20')
  } finally {
    await app.close()
  }
})
