export { postgres } from './postgres/session.ts'
export type { PostgresOptions } from './postgres/options.ts'
