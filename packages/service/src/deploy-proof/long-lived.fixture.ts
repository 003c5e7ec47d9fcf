/** Clients of the mixed traffic that keep a connection for long, and come again whenever it ends as it should. */
import { request as httpRequest } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

export interface LongLived {
  /** How often each kind came to its end, and began again. */
  readonly ends: Record<string, number>
  /** Ends as they should not be. */
  readonly failures: string[]
  stop(): Promise<void>
}

type Client = (url: string, signal: AbortSignal) => Promise<string | undefined>

/** A second for ten pieces. */
const upload: Client = (url) =>
  new Promise((resolve) => {
    const outgoing = httpRequest(`${url}/upload`, { method: 'POST', agent: false }, (response) => {
      let text = ''
      response.on('data', (chunk) => (text += String(chunk)))
      response.on('end', () => resolve(text === '10' ? undefined : `upload ${response.statusCode}: ${text.slice(0, 20)}`))
      response.on('error', (error) => resolve(`upload: ${error.message}`))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(`upload: ${error.code}`))
    void (async () => {
      for (let piece = 0; piece < 10; piece++) {
        outgoing.write('x')
        await delay(100)
      }
      outgoing.end()
    })()
  })

const events: Client = (url, signal) =>
  new Promise((resolve) => {
    const outgoing = httpRequest(`${url}/events`, { agent: false }, (response) => {
      if (response.statusCode !== 200) resolve(`events ${response.statusCode}`)
      response.resume()
      response.on('end', () => resolve(undefined))
      response.on('error', (error) => resolve(signal.aborted ? undefined : `events: ${error.message}`))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(signal.aborted ? undefined : `events: ${error.code}`)).end()
    signal.addEventListener('abort', () => outgoing.destroy())
  })

const webSocket: Client = (url, signal) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url.replace('http', 'ws'))
    socket.addEventListener('close', ({ code }) => resolve(signal.aborted || code === 1001 ? undefined : `WebSocket ${code}`))
    signal.addEventListener('abort', () => socket.close())
  })

const http2: Client = (url) =>
  new Promise((resolve) => {
    const outgoing = httpRequest(`${url}/h2/`, { agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode === 200 ? undefined : `HTTP/2 ${response.statusCode}`))
      response.on('error', (error) => resolve(`HTTP/2: ${error.message}`))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(`HTTP/2: ${error.code}`)).end()
  })

export function startLongLived(url: string): LongLived {
  const over = new AbortController()
  const ends: Record<string, number> = { upload: 0, events: 0, webSocket: 0, http2: 0 }
  const failures: string[] = []
  const again = async (name: string, client: Client, pauseMs: number): Promise<void> => {
    while (!over.signal.aborted) {
      const failure = await client(url, over.signal)
      if (failure !== undefined) failures.push(failure)
      ends[name]!++
      await delay(pauseMs)
    }
  }
  const clients = [
    ...Array.from({ length: 4 }, () => again('upload', upload, 0)),
    ...Array.from({ length: 4 }, () => again('events', events, 10)),
    ...Array.from({ length: 4 }, () => again('webSocket', webSocket, 10)),
    ...Array.from({ length: 2 }, () => again('http2', http2, 20)),
  ]
  return {
    ends,
    failures,
    async stop() {
      over.abort()
      await Promise.all(clients)
    },
  }
}
