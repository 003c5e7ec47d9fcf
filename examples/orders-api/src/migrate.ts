/** Brings the database up to date; can be repeated. */
import { fileURLToPath } from 'node:url'
import { createDbPool, migrate } from '@platform/db-pool'
import { createLogger } from '@platform/logger'
import { loadSettings } from './config.ts'

const { current } = await loadSettings()
const logger = createLogger({ name: 'orders-migrate' })
const db = createDbPool({ url: current.db.url.reveal(), maxSize: 2, logger })
try {
  const { applied } = await migrate(db, { directory: fileURLToPath(new URL('../migrations', import.meta.url)) })
  logger.info({ applied }, 'orders is ready')
} finally {
  await db.close()
  await logger.close()
}
