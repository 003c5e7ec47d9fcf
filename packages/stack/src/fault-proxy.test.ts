import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type FaultProxy, faultProxy } from './fault-proxy.ts'

/** Answers every piece with the same piece. */
let echo: Server
let proxy: FaultProxy
const sockets = new Set<Socket>()

beforeEach(async () => {
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  proxy = await faultProxy(`127.0.0.1:${(echo.address() as AddressInfo).port}`)
})

afterEach(async () => {
  await proxy.close()
  for (const socket of sockets) socket.destroy()
  sockets.clear()
  echo.close()
})

async function dial(): Promise<Socket> {
  const socket = connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true })
  sockets.add(socket)
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

async function read(socket: Socket, bytes: number): Promise<string> {
  let text = ''
  while (text.length < bytes) text += ((await once(socket, 'data')) as [Buffer])[0].toString()
  return text
}

/** Whether anything arrives within a moment. */
function hears(socket: Socket): Promise<boolean> {
  return Promise.race([once(socket, 'data').then(() => true), sleep(150, false)])
}

describe('faultProxy', () => {
  it('forwards both ways, more than the buffers hold, and passes on the end of a stream', async () => {
    const socket = await dial()
    const size = 8_000_000
    const received = read(socket, size)
    socket.end('x'.repeat(size))
    expect((await received).length).toBe(size)
    await once(socket, 'end')
    await expect.poll(() => proxy.connections).toBe(0)
    expect(proxy.accepted).toBe(1)
  })

  it('cut: resets what is open, refuses what is new; restore: takes connections on the same port again', async () => {
    const socket = await dial()
    socket.write('a')
    await read(socket, 1)
    proxy.cut()
    await expect(once(socket, 'data')).rejects.toMatchObject({ code: 'ECONNRESET' })
    await expect(dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    proxy.restore()
    const again = await dial()
    again.write('b')
    expect(await read(again, 1)).toBe('b')
  })

  it('silence: keeps and accepts connections, forwards nothing; restore delivers what was sent meanwhile', async () => {
    const before = await dial()
    before.write('a')
    await read(before, 1)
    proxy.silence()
    const during = await dial()
    before.write('b')
    during.write('c')
    expect(await Promise.all([hears(before), hears(during)])).toEqual([false, false])
    const later = Promise.all([read(before, 1), read(during, 1)])
    proxy.restore()
    expect(await later).toEqual(['b', 'c'])
  })

  it('delay: holds data back in each direction and keeps its order', async () => {
    proxy.delay(100)
    const socket = await dial()
    const startedAt = performance.now()
    for (const piece of ['1', '2', '3', '4', '5']) {
      socket.write(piece)
      await sleep(5)
    }
    expect(await read(socket, 5)).toBe('12345')
    expect(performance.now() - startedAt).toBeGreaterThan(195)
    proxy.delay(60_000)
    socket.write('6')
    expect(await hears(socket)).toBe(false)
    proxy.restore()
    expect(await read(socket, 1)).toBe('6')
  })

  it('resets the client when there is no server behind it', async () => {
    echo.close()
    const socket = await dial()
    await expect(once(socket, 'data')).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  it('close: ends everything, also while cut or silent, and may be repeated', async () => {
    const socket = await dial()
    proxy.silence()
    const ended = new Promise((resolve) => socket.once('close', resolve))
    await Promise.all([proxy.close(), proxy.close()])
    expect(await ended).toBe(true) // with an error: it was reset
    proxy.restore()
    await expect(dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it.each([
    [
      'postgres://platform:s%3Acret@localhost:5432/films?sslmode=disable',
      'postgres://platform:s%3Acret@127.0.0.1:PORT/films?sslmode=disable',
    ],
    ['redis://127.0.0.1:6379', 'redis://127.0.0.1:PORT'],
    ['redis://127.0.0.1/7', 'redis://127.0.0.1:PORT/7'],
    ['amqp://user:word@127.0.0.1:5672/test-1', 'amqp://user:word@127.0.0.1:PORT/test-1'],
    ['http://127.0.0.1:8500', 'http://127.0.0.1:PORT'],
    ['127.0.0.1:8500', '127.0.0.1:PORT'],
  ])('keeps %s but for the address', async (target, url) => {
    await using other = await faultProxy(target)
    expect(other.url).toBe(url.replace('PORT', String(other.port)))
  })

  it('refuses a target that it cannot read', async () => {
    await expect(faultProxy('nowhere')).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'target' })
    await expect(faultProxy('ftp://127.0.0.1')).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'target' })
  })
})
