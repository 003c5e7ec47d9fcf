import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedis } from '@platform/stack'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createCache, type Cache } from '../index.ts'
import { memory } from './memory.ts'
import { redis, redisBus } from './redis.ts'

/** A CA and a certificate of it for 127.0.0.1, which only this test trusts. */
function makeCertificates(folder: string): { ca: string; settings: Record<string, string> } {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=A CA of this test')
  openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=127.0.0.1')
  writeFileSync(join(folder, 'names'), 'subjectAltName=IP:127.0.0.1')
  const sign = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names', '-days', '2']
  openssl('x509', '-req', '-in', 'server.csr', ...sign, '-out', 'server.crt')
  // The server may run as another user.
  chmodSync(folder, 0o755)
  chmodSync(join(folder, 'server.key'), 0o644)
  return {
    ca: readFileSync(join(folder, 'ca.crt'), 'utf8'),
    settings: {
      'tls-cert-file': join(folder, 'server.crt'),
      'tls-key-file': join(folder, 'server.key'),
      'tls-ca-cert-file': join(folder, 'ca.crt'),
      'tls-auth-clients': 'no',
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe('rediss:', () => {
  let folder: string
  let ca: string
  let url: string
  let server: Awaited<ReturnType<typeof startRedis>>
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cache-tls-'))
    const made = makeCertificates(folder)
    ca = made.ca
    const port = await freePort()
    server = await startRedis({ fresh: true, settings: { 'tls-port': String(port), ...made.settings } })
    const { password } = new URL(server.url)
    url = `rediss://:${password}@127.0.0.1:${port}`
  })
  afterAll(async () => {
    await server.stop()
    rmSync(folder, { recursive: true })
  })

  it('l2 and bus over TLS, by a CA of their own', async () => {
    const make = () =>
      createCache({
        namespace: 'tls',
        l1: memory({ maxBytes: 1e6 }),
        l2: redis({ url, tls: { ca } }),
        bus: redisBus({ url, tls: { ca }, heartbeatMs: 20_000 }),
        ttlMs: 600_000,
        l2HardTimeoutMs: 10_000,
      })
    const [a, b] = [make(), make()] as [Cache, Cache]
    await Promise.all([a.ready(), b.ready()])
    expect(await a.getOrSet('k', () => 'old', { tags: ['t'] })).toBe('old')
    expect(await b.getOrSet('k', () => 'not asked', { tags: ['t'] })).toBe('old')
    await a.deleteByTag('t')
    await expect.poll(() => b.getOrSet('k', () => 'new')).toBe('new')
    expect(await a.check()).toBeUndefined()
    await Promise.all([a.close(), b.close()])
  })

  it('may be closed at any moment of a handshake that fails', async () => {
    const uncaught = vi.fn<(error: unknown) => void>()
    process.on('uncaughtException', uncaught)
    for (let round = 0; round < 100; round++) {
      const cache = createCache({ namespace: 'tls-closing', l2: redis({ url }), ttlMs: 600_000 })
      await new Promise((resolve) => setTimeout(resolve, (round % 25) / 2))
      await cache.close({ timeoutMs: 0 })
    }
    const after = createCache({ namespace: 'tls-closing', l2: redis({ url, tls: { ca } }), ttlMs: 600_000 })
    await after.ready()
    await after.close()
    process.off('uncaughtException', uncaught)
    expect(uncaught).not.toHaveBeenCalled()
  })

  it('a server whose certificate nobody vouches for is away: no value goes there, and every request is answered', async () => {
    const cache = createCache({ namespace: 'tls-unknown', l2: redis({ url }), ttlMs: 600_000, l2HardTimeoutMs: 200 })
    expect(await cache.getOrSet('k', () => 'loaded')).toBe('loaded')
    await expect(cache.set('k', 'secret')).rejects.toMatchObject({ code: 'ERR_CACHE_INVALIDATION_PENDING' })
    expect(await cache.check()).toMatchObject({ status: 'warn' })
    await cache.close({ timeoutMs: 0 })
    const inside = createCache({ namespace: 'tls-unknown', l2: redis({ url, tls: { ca } }), ttlMs: 600_000 })
    await inside.ready()
    expect(await inside.get('k')).toBeUndefined()
    await inside.close()
  })
})
