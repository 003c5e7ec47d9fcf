import { z } from 'zod'
import { defineMessage, type Message } from '../message.ts'

export const sold: Message<{ film: string; n: number }> = defineMessage('film.sold', {
  version: 1,
  schema: z.object({ film: z.string(), n: z.number() }),
  key: ({ film }) => film,
})

/** The sale that ends the process of `poisoned-consumer.ts`. */
export const poison = -1
