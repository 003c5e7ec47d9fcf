/** A process that migrates: started several times at once by the test. */
import { createDbPool, migrate } from '../index.ts'

const [url = '', directory = ''] = process.argv.slice(2)
const db = createDbPool({ url })
const { applied } = await migrate(db, { directory })
process.send?.(applied)
await db.close()
process.disconnect()
