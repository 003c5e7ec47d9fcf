import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { startNginx } from './nginx.ts'
import { findNginx, nginxAt } from './nginx-program.ts'
import { isAlive, processTree } from './process-tree.ts'

const says = (text: string) => `server { listen {{listen}}; location / { return 200 '${text}'; } }`
const read = async (url: string) => (await fetch(url, { headers: { connection: 'close' } })).text()

const upstream = createServer((_request, response) => response.end('from upstream'))
/** Logs of refused configurations stay: here they go with the test. */
let place: string
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
  chmodSync(place, 0o755)
  vi.stubEnv('TMPDIR', place)
})
afterEach(() => {
  upstream.close()
  vi.unstubAllEnvs()
  rmSync(place, { recursive: true, force: true })
})

describe('startNginx', () => {
  it('proxies to a loopback upstream, takes over a new configuration and keeps it over a kill', { timeout: 120_000 }, async () => {
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const { port } = upstream.address() as AddressInfo
    const server = await startNginx({ config: `server { listen {{listen}}; location / { proxy_pass http://127.0.0.1:${port}; } }` })
    const logFile = server.logFile as string
    expect(server.version).toMatch(/^\d+\.\d+\.\d+$/)
    expect(await read(server.url)).toBe('from upstream')
    await server.reload(says('second'))
    await expect.poll(() => read(server.url)).toBe('second')

    await server.kill()
    await expect(read(server.url)).rejects.toThrow('fetch failed')
    await server.restart()
    expect(await read(server.url)).toBe('second')

    const last = processTree(server.pid as number)
    await server.stop()
    expect(last.filter(isAlive)).toEqual([])
    expect(existsSync(dirname(logFile))).toBe(false)
  })

  it('refuses a configuration that nginx refuses: at the start, and later without harm', { timeout: 120_000 }, async () => {
    const refused = { code: 'ERR_STACK_REFUSED', message: expect.stringContaining('unknown directive "nonsense"') }
    await expect(startNginx({ config: `${says('never')} nonsense on;` })).rejects.toMatchObject(refused)
    await using server = await startNginx({ config: says('first') })
    const results = await Promise.allSettled([server.reload(`${says('bad')} nonsense on;`), server.reload(says('third'))])
    expect(results[0]).toMatchObject({ status: 'rejected', reason: refused })
    expect(results[1]).toMatchObject({ status: 'fulfilled' })
    await expect.poll(() => read(server.url)).toBe('third')
    await server.reload() // reads the same again
    await expect.poll(() => read(server.url)).toBe('third')
  })

  it('runs one that follows a name server where it can be had, and the one that is named', { timeout: 120_000 }, async () => {
    const lines: string[] = []
    const found = await findNginx({ onProgress: (line) => lines.push(line) })
    const [major = 0, minor = 0] = found.version.split('.').map(Number)
    const follows = `upstream a { zone a 64k; server films.example service=http resolve; } resolver 127.0.0.1:9; ${says('found')}`
    // Either it is new, or a line said that it is older.
    expect(lines.some((line) => line.includes('of this machine is used'))).toBe(major * 1000 + minor < 1028)
    await using server = await startNginx({ config: lines.length === 0 ? follows : says('found'), program: found.program })
    expect(server.version).toBe(found.version)
    expect(await read(server.url)).toBe('found')
    expect(() => nginxAt(process.execPath)).toThrow(expect.objectContaining({ code: 'ERR_STACK_MISSING' }))
  })

  it('needs a place to listen on', async () => {
    await expect(startNginx({ config: 'server { listen 80; }' })).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'config' })
  })
})
