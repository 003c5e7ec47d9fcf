import type { Shop } from '@film-store/film-contracts/shop'
import { Body, Controller, Get, Headers, Inject, NotFoundException, Param, Post, Res } from '@nestjs/common'
import { ZodPipe } from '@platform/nestjs'
import type { Response } from 'express'
import { z } from 'zod'
import { orUnavailable } from './database-away.ts'
import type { Order } from './order.entity.ts'
import { type NewOrder, OrdersService } from './orders.service.ts'
import { SHOP } from './tokens.ts'

const newOrder = z.object({ filmId: z.int().positive().max(2_147_483_647), quantity: z.int().min(1).max(100) })
const orderId = z.uuid()
const idempotencyKey = new ZodPipe(z.string('is required').min(8).max(100))

@Controller('orders')
export class OrdersController {
  readonly #orders: OrdersService
  readonly #shop: Shop
  constructor(orders: OrdersService, @Inject(SHOP) shop: Shop) {
    this.#orders = orders
    this.#shop = shop
  }

  @Post()
  async place(
    @Headers('idempotency-key') header: string | undefined,
    @Body(new ZodPipe(newOrder)) body: NewOrder,
    @Res({ passthrough: true }) response: Response,
  ): Promise<OrderView> {
    const key = await idempotencyKey.transform(header, { type: 'custom', data: 'idempotency-key' })
    const { order, created } = await orUnavailable(response, this.#orders.place(key, body))
    response.status(created ? 201 : 200).location(`/orders/${order.id}`)
    return this.#view(order)
  }

  @Get(':id')
  async show(@Param('id', new ZodPipe(orderId)) id: string, @Res({ passthrough: true }) response: Response): Promise<OrderView> {
    const order = await orUnavailable(response, this.#orders.find(id))
    if (!order) throw new NotFoundException({ message: 'order not found', errors: [{ pointer: '#/id', message: `no order is ${id}` }] })
    return this.#view(order)
  }

  async #view(order: Order): Promise<OrderView> {
    return { ...view(order), currency: this.#shop.currency, promotion: await this.#shop.promotion() }
  }
}

interface OrderView {
  readonly id: string
  readonly filmId: number
  readonly quantity: number
  readonly priceCents: number
  readonly currency: string
  readonly promotion: boolean
  readonly status: Order['status']
  readonly placedAt: Date
}

const view = ({ id, filmId, quantity, priceCents, status, placedAt }: Order) => ({
  id,
  filmId,
  quantity,
  priceCents,
  status,
  placedAt,
})
