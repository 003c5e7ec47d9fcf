export { redis } from './redis/session.ts'
export type { RedisOptions } from './redis/options.ts'
