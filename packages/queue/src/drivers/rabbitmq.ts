export { rabbitmq } from './rabbitmq/session.ts'
export type { RabbitmqOptions } from './rabbitmq/options.ts'
