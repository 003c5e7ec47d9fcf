import { SetMetadata } from '@nestjs/common'
import type { ConsumerOptions, Delivery, HandlerContext, Message } from '@platform/queue'

export interface Consumed {
  readonly message: Message<never, unknown>
  readonly options: Omit<ConsumerOptions, 'batch'>
}

/** Where the decorator leaves what it was told, on the method. */
export const CONSUMED = '@platform/nestjs/consumed'

type Consumes<Out> = <H extends (delivery: Delivery<Out>, context: HandlerContext) => Promise<void>>(
  target: object,
  name: string | symbol,
  method: TypedPropertyDescriptor<H>,
) => void

/**
 * The method handles the messages of a group: `@Consume(orderPlaced, { group: 'shipping' })`. Its class is a provider or a controller that
 * lives as long as the application. It is called as a handler of `broker.consumer`, with `this`; guards, interceptors and pipes are for requests.
 */
export function Consume<Out>(message: Message<never, Out>, options: Omit<ConsumerOptions, 'batch'>): Consumes<Out> {
  return SetMetadata(CONSUMED, { message, options } satisfies Consumed) as Consumes<Out>
}
