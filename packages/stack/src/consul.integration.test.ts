import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startConsul } from './consul.ts'
import { isAlive } from './process-tree.ts'
import { testConsul } from './testing.ts'

async function ask(url: string, path: string, method = 'GET', body?: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`${url}/v1/${path}`, { method, ...(body === undefined ? {} : { body }) })
  return { status: response.status, text: await response.text() }
}

describe('startConsul', () => {
  it('answers, keeps keys over a kill and a restart, and leaves neither process nor folder', { timeout: 120_000 }, async () => {
    const server = await startConsul({ fresh: true })
    const logFile = server.logFile as string
    expect(server.version).toMatch(/^\d+\.\d+\.\d+/)
    expect(await ask(server.url, 'kv/kept', 'PUT', 'value')).toEqual({ status: 200, text: 'true' })
    await server.kill()
    await server.restart()
    expect(await ask(server.url, 'kv/kept?raw')).toEqual({ status: 200, text: 'value' })
    await server.restart()
    expect(await ask(server.url, 'kv/kept?raw')).toEqual({ status: 200, text: 'value' })
    const last = server.pid as number
    await server.stop()
    expect(isAlive(last)).toBe(false)
    expect(existsSync(dirname(logFile))).toBe(false)
  })
})

describe('testConsul', () => {
  it('gives a prefix of its own and removes the keys and services below it', { timeout: 60_000 }, async () => {
    const [one, two] = await Promise.all([testConsul(), testConsul()])
    expect(one.prefix).not.toBe(two.prefix)
    for (const { url, prefix } of [one, two]) {
      await ask(url, `kv/${prefix}/key`, 'PUT', 'value')
      await ask(url, 'agent/service/register', 'PUT', JSON.stringify({ ID: `${prefix}-1`, Name: `${prefix}-orders`, Port: 1 }))
    }
    await one.close()
    expect((await ask(one.url, `kv/${one.prefix}/key`)).status).toBe(404)
    expect((await ask(two.url, `kv/${two.prefix}/key`)).status).toBe(200)
    const left = Object.keys(JSON.parse((await ask(two.url, 'agent/services')).text) as object)
    expect(left).toContain(`${two.prefix}-1`)
    expect(left).not.toContain(`${one.prefix}-1`)
    await two.close()
  })
})
