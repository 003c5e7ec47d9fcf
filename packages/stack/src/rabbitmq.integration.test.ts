import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { connect } from 'amqplib'
import { describe, expect, it } from 'vitest'
import { isAlive, processTree } from './process-tree.ts'
import { startRabbitmq } from './rabbitmq.ts'
import { testRabbitmq } from './testing.ts'

async function withChannel<T>(
  url: string,
  work: (channel: Awaited<ReturnType<Awaited<ReturnType<typeof connect>>['createChannel']>>) => Promise<T>,
): Promise<T> {
  const connection = await connect(url)
  connection.on('error', () => {})
  try {
    return await work(await connection.createChannel())
  } finally {
    await connection.close()
  }
}

describe('startRabbitmq', () => {
  it('answers, keeps durable messages over a restart, and leaves neither process nor folder', { timeout: 120_000 }, async () => {
    const server = await startRabbitmq({ fresh: true })
    const { pid, logFile } = server as { pid: number; logFile: string }
    expect(server.version).toMatch(/^\d+\.\d+\.\d+/)
    await withChannel(server.url, async (channel) => {
      await channel.assertQueue('kept', { durable: true })
      channel.sendToQueue('kept', Buffer.from('hello'), { persistent: true })
      await channel.close()
    })
    await server.restart()
    expect(server.pid).not.toBe(pid)
    const message = await withChannel(server.url, (channel) => channel.get('kept', { noAck: true }))
    expect(message && message.content.toString()).toBe('hello')
    const processes = processTree(server.pid as number)
    expect(processes.length).toBeGreaterThan(1)
    await server.stop()
    expect(processes.filter(isAlive)).toEqual([])
    expect(existsSync(dirname(logFile))).toBe(false)
  })
})

describe('testRabbitmq', () => {
  it('gives each caller a virtual host of its own and removes it', { timeout: 60_000 }, async () => {
    const [one, two] = await Promise.all([testRabbitmq(), testRabbitmq()])
    await withChannel(one.url, (channel) => channel.assertQueue('mine'))
    await expect(withChannel(two.url, (channel) => channel.on('error', () => {}) && channel.checkQueue('mine'))).rejects.toThrow(
      'NOT_FOUND',
    )
    await Promise.all([one.close(), two.close()])
    await expect(connect(one.url)).rejects.toThrow('ConnectionClose')
  })
})
