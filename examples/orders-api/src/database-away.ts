import type { ServerResponse } from 'node:http'
import { ServiceUnavailableException } from '@nestjs/common'
import { DbPoolError, type DbPoolErrorCode } from '@platform/db-pool'

/** Of a socket that broke, and of a server that leaves or does not let anybody in yet: TypeORM passes on what `pg` says. */
const awayCodes = /^(ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|08\w{3}|57P\w{2})$/
const lost: readonly DbPoolErrorCode[] = ['ERR_DB_POOL_CONNECTION_LOST', 'ERR_DB_POOL_COMMIT_UNKNOWN']

/** 503 when the database has gone away meanwhile: whoever asked may ask again, and an order has its key, by which it is placed once. */
export async function orUnavailable<T>(response: ServerResponse, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isAway(error)) throw error
    response.setHeader('retry-after', '1')
    throw new ServiceUnavailableException('the database is away for now', { cause: error })
  }
}

function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code, cause, driverError } = error as { code?: unknown; cause?: unknown; driverError?: unknown }
  if (DbPoolError.isInstance(error)) return lost.includes(error.code)
  // `pg` gives no code where a socket ended without an error.
  if (error.message.startsWith('Connection terminated') || (typeof code === 'string' && awayCodes.test(code))) return true
  return isAway(driverError ?? cause)
}
