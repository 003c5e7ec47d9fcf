import { randomUUID } from 'node:crypto'
import { orderPlaced } from '@film-store/film-contracts'
import { HttpException, Inject, Injectable } from '@nestjs/common'
import { fromEntityManager } from '@platform/db-pool'
import type { Outbox } from '@platform/queue'
import { DataSource } from 'typeorm'
import { Order } from './order.entity.ts'
import { Prices } from './prices.ts'
import { OUTBOX } from './tokens.ts'

export interface NewOrder {
  readonly filmId: number
  readonly quantity: number
}

@Injectable()
export class OrdersService {
  readonly #source: DataSource
  readonly #prices: Prices
  readonly #outbox: Outbox

  constructor(source: DataSource, prices: Prices, @Inject(OUTBOX) outbox: Outbox) {
    this.#source = source
    this.#prices = prices
    this.#outbox = outbox
  }

  /** The order and its message commit together or not at all. A key that was used before answers with its order. */
  async place(key: string, { filmId, quantity }: NewOrder, signal?: AbortSignal): Promise<{ order: Order; created: boolean }> {
    const earlier = await this.#byKey(key)
    if (earlier) return { order: sameAs(earlier, filmId, quantity), created: false }
    const priceCents = await this.#prices.of(filmId, signal)

    const placed = await this.#source.transaction(async (manager) => {
      const order = { id: randomUUID(), idempotencyKey: key, filmId, quantity, priceCents }
      const insert = manager.createQueryBuilder().insert().into(Order).values(order).orIgnore().returning('status, placed_at')
      const [row] = (await insert.execute()).raw as { status: Order['status']; placed_at: Date }[]
      if (!row) return undefined
      await this.#outbox.add(fromEntityManager(manager), orderPlaced, { orderId: order.id, filmId, quantity })
      return { ...order, status: row.status, placedAt: row.placed_at, settledAt: null }
    })
    if (placed) return { order: placed, created: true }
    // The same key came twice at once, and the other was first.
    const other = await this.#byKey(key)
    return { order: sameAs(other!, filmId, quantity), created: false }
  }

  find(id: string): Promise<Order | null> {
    return this.#source.getRepository(Order).findOneBy({ id })
  }

  #byKey(idempotencyKey: string): Promise<Order | null> {
    return this.#source.getRepository(Order).findOneBy({ idempotencyKey })
  }
}

function sameAs(order: Order, filmId: number, quantity: number): Order {
  if (order.filmId === filmId && order.quantity === quantity) return order
  const errors = [{ pointer: '#/idempotency-key', message: 'was used before for another order' }]
  throw new HttpException({ message: 'the key is taken', errors }, 409)
}
