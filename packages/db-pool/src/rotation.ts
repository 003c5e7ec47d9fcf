import { DbPoolError } from './errors.ts'
import { checkCredential, type Credential } from './options.ts'
import type { ConnectionPool } from './pool.ts'

/**
 * Proves the new credential with one connection, then uses it for all new ones. Idle connections of the old are closed, those in use
 * on their return, so no request fails; when the proof fails, nothing changes.
 */
export async function rotateCredential(pool: ConnectionPool, replicas: readonly ConnectionPool[], credential: Credential): Promise<void> {
  checkCredential('credential', credential)
  const session = await pool.tryCredential(credential).catch((cause: unknown) => {
    throw new DbPoolError('ERR_DB_POOL_ROTATE_REJECTED', 'the new credential did not pass its probe: the old one stays', { cause })
  })
  if (pool.closed) {
    await session.end()
    throw new DbPoolError('ERR_DB_POOL_CLOSED', 'the pool is closed')
  }
  // A replica that has not yet heard of the new password cannot be reached until it has; its reads go elsewhere.
  for (const each of [pool, ...replicas]) {
    each.useCredential(credential)
  }
  pool.adopt(session)
}
