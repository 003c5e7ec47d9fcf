import { defineMessage } from '@platform/queue'
import { z } from 'zod'

const order = z.object({ orderId: z.uuid(), filmId: z.int().positive(), quantity: z.int().positive() })
const byFilm = (body: { filmId: number }) => String(body.filmId)

/** An order was accepted at the price that its page showed. */
export const orderPlaced = defineMessage('orders.placed', { version: 1, schema: order, key: byFilm })

/** Stock was taken for the order. */
export const orderFulfilled = defineMessage('orders.fulfilled', { version: 1, schema: order, key: byFilm })

/** The order cannot be fulfilled. */
export const orderRejected = defineMessage('orders.rejected', {
  version: 1,
  schema: order.extend({ reason: z.enum(['out-of-stock', 'unknown-film']) }),
  key: byFilm,
})

/** The stock of a film; a higher `version` is newer, whatever the order of arrival. */
export const stockChanged = defineMessage('stock.changed', {
  version: 1,
  schema: z.object({ filmId: z.int().positive(), stock: z.int().nonnegative(), version: z.int().nonnegative() }),
  key: byFilm,
})
