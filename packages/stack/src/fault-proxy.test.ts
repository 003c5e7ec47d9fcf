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

const targetPort = () => (echo.address() as AddressInfo).port

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

  it('silence: passes no end and no reset, and opens nothing at the server', async () => {
    const before = await dial()
    before.write('a')
    await read(before, 1)
    let told = 0
    for (const event of ['error', 'end', 'close']) before.on(event, () => told++)
    proxy.silence()
    const opened = sockets.size
    await dial()
    for (const socket of sockets) if (socket.localPort === targetPort()) socket.resetAndDestroy()
    await sleep(150)
    expect(told).toBe(0)
    expect(sockets.size).toBe(opened + 1) // ours alone, none at the server
    const reset = new Promise((resolve) => before.once('close', resolve))
    proxy.restore()
    await reset
  })

  it('silence in one direction: the other one passes', async () => {
    const socket = await dial()
    socket.write('a')
    await read(socket, 1)
    const [atServer] = [...sockets].filter(({ localPort }) => localPort === targetPort())
    proxy.silence({ direction: 'to-client' })
    const arrived = once(atServer as Socket, 'data')
    socket.write('b')
    expect(String((await arrived)[0])).toBe('b')
    expect(await hears(socket)).toBe(false)
    proxy.restore()
    expect(await read(socket, 1)).toBe('b')
  })

  it('throttle: lets so many bytes a second pass', async () => {
    proxy.throttle(100_000, { direction: 'to-server' })
    const socket = await dial()
    const startedAt = performance.now()
    socket.write('x'.repeat(50_000))
    await read(socket, 50_000)
    expect(performance.now() - startedAt).toBeGreaterThan(400) // half a second; the last share passes at its beginning
  })

  it('slice: data arrives in small pieces, whole and in order', async () => {
    proxy.slice(3, { direction: 'to-client' })
    const socket = await dial()
    const pieces: string[] = []
    socket.on('data', (piece: Buffer) => pieces.push(String(piece)))
    socket.write('0123456789')
    await expect.poll(() => pieces.join('')).toBe('0123456789')
    expect(pieces.length).toBeGreaterThan(1)
  })

  it('tear: so many bytes pass, then the connection is reset', async () => {
    const socket = await dial()
    socket.write('a')
    await read(socket, 1)
    proxy.tear(4, { direction: 'to-client' })
    let received = ''
    socket.on('data', (piece: Buffer) => (received += String(piece)))
    const reset = new Promise((resolve) => socket.once('error', resolve))
    socket.write('0123456789')
    expect(await reset).toMatchObject({ code: 'ECONNRESET' })
    expect('0123'.startsWith(received)).toBe(true)
    await expect.poll(() => proxy.connections).toBe(0)
  })

  it('refuses what is no figure or direction', () => {
    expect(() => proxy.throttle(0)).toThrow(expect.objectContaining({ code: 'ERR_STACK_OPTION', option: 'bytesPerSecond' }))
    expect(() => proxy.slice(0.5)).toThrow(expect.objectContaining({ option: 'bytes' }))
    expect(() => proxy.tear(-1)).toThrow(expect.objectContaining({ option: 'bytes' }))
    expect(() => proxy.silence({ direction: 'up' as 'to-server' })).toThrow(expect.objectContaining({ option: 'direction' }))
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
    ['redis://:word@[::1]:6379/1', 'redis://:word@127.0.0.1:PORT/1'],
    ['[::1]:8500', '127.0.0.1:PORT'],
    ['http+unix-like.2://user@127.0.0.1:80?of=a@b', 'http+unix-like.2://user@127.0.0.1:PORT?of=a@b'],
  ])('keeps %s but for the address', async (target, url) => {
    await using other = await faultProxy(target)
    expect(other.url).toBe(url.replace('PORT', String(other.port)))
  })

  it('refuses a target that it cannot read', async () => {
    await expect(faultProxy('nowhere')).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'target' })
    await expect(faultProxy(undefined as never)).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'target' })
    await expect(faultProxy('127.0.0.1:99999')).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'target' })
    await expect(faultProxy('ftp://127.0.0.1')).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option: 'target' })
  })
})
