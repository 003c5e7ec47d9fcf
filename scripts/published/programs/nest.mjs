/** A Nest application with a broker and a health of the platform. */
import 'reflect-metadata'
import { strict as assert } from 'node:assert'
import { Body, Controller, Module, Post } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { PlatformModule, ZodPipe } from '@platform/nestjs'
import { nestHttp } from '@platform/nestjs/http'
import { z } from 'zod'

class Orders {
  place(order) {
    return { placed: order.film }
  }
}
Controller('orders')(Orders)
Post()(Orders.prototype, 'place', Object.getOwnPropertyDescriptor(Orders.prototype, 'place'))
Body(new ZodPipe(z.object({ film: z.number() })))(Orders.prototype, 'place', 0)
class AppModule {}
Module({ imports: [PlatformModule.forRoot({})], controllers: [Orders] })(AppModule)

const http = nestHttp(await NestFactory.create(AppModule, { logger: false }), { port: 0, host: '127.0.0.1' })
await http.ready()
const headers = { 'content-type': 'application/json' }
const post = (body) => fetch(`http://127.0.0.1:${http.port}/orders`, { method: 'POST', body, headers })
assert.deepEqual(await (await post('{"film":7}')).json(), { placed: 7 })
assert.equal((await post('{"film":"seven"}')).status, 400)
await http.close()
console.log('Nest works')
