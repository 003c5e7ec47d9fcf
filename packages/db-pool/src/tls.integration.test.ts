import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testPostgres } from '@platform/stack/testing'
import { expect, it } from 'vitest'
import { createDbPool } from './index.ts'
import { certificate, tlsProxy } from './tls-proxy.fixture.ts'

it.for(['postgres', 'direct'])(
  'a cancel goes the way of its connection: TLS, negotiated as %s',
  { timeout: 60_000 },
  async (negotiation) => {
    await using database = await testPostgres()
    const proxy = await tlsProxy(database.url)
    const folder = await mkdtemp(join(tmpdir(), 'platform-db-pool-'))
    try {
      const authority = join(folder, 'ca.pem')
      await writeFile(authority, certificate)
      const url = new URL(proxy.url)
      url.search = new URLSearchParams({ sslmode: 'verify-full', sslrootcert: authority, sslnegotiation: negotiation }).toString()
      await using db = createDbPool({ url: url.href, maxSize: 2, acquireTimeoutMs: 30_000, cancelTimeoutMs: 20_000 })
      const callers = Array.from({ length: 4 }, async () => {
        for (let round = 0; round < 10; round++) {
          const reason = new Error('mine')
          const controller = new AbortController()
          const aborted = db.query('select pg_sleep(60)', [], { signal: controller.signal })
          setTimeout(() => controller.abort(reason), 20)
          await expect(aborted).rejects.toBe(reason)
          expect((await db.query('select pg_sleep(0.01), 1 as n')).rowCount).toBe(1)
        }
      })
      await Promise.all(callers)
      await db.drain()
      // No connection was lost to an abort.
      expect(proxy.seen.connections).toBe(2)
      expect(proxy.seen.cancels).toBeGreaterThan(0)
    } finally {
      proxy.close()
      await rm(folder, { recursive: true })
    }
  },
)
