import { Worker } from 'node:worker_threads'
import { background } from '@platform/kernel'
import type { RegisteredInstance, Registrations } from './registry.ts'

interface Sign {
  readonly id: string
  readonly url: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly everyMs: number
  readonly graceMs: number
}

/**
 * Repeats the last sign of life of each instance while the main thread is silent, and stops when it has been silent for too long. A string, because
 * a file of its own would have to be found again in whatever the user bundles.
 */
const program = `
const { parentPort } = require('node:worker_threads')
const clients = { 'http:': require('node:http'), 'https:': require('node:https') }
const signs = new Map()
parentPort.on('message', ({ id, sign }) => {
  if (sign === undefined) signs.delete(id)
  else signs.set(id, { sign, heardAt: performance.now(), sentAt: 0 })
})
setInterval(() => {
  const now = performance.now()
  for (const entry of signs.values()) {
    const { sign } = entry
    if (now - entry.heardAt > sign.graceMs || now - Math.max(entry.heardAt, entry.sentAt) < sign.everyMs) continue
    entry.sentAt = now
    const { url, method, headers } = sign
    const request = clients[new URL(url).protocol].request(url, { method, headers, timeout: 5000 }, (response) => response.resume())
    request.on('timeout', () => request.destroy()).on('error', () => {}).end()
  }
}, 100)
`

/** A busy loop in this process must not look like its death to the registry; a process that hangs must all the same. */
export class Heartbeat {
  readonly #graceMs: number
  #worker: Worker | undefined
  #closed = false

  constructor(graceMs: number) {
    this.#graceMs = graceMs
  }

  /** This thread has just given the sign of life itself. */
  async beat(registrations: Registrations, instance: RegisteredInstance, leaving: AbortSignal): Promise<void> {
    const { id, check } = instance
    if (this.#graceMs === 0 || !('ttlMs' in check) || registrations.signOfLife === undefined) return
    try {
      const request = await registrations.signOfLife(instance)
      if (this.#closed || leaving.aborted) return
      const sign: Sign = { id, ...request, everyMs: check.ttlMs / 2, graceMs: this.#graceMs }
      this.#worker ??= background(new Worker(program, { eval: true, name: 'discovery heartbeat', stdout: false, stderr: false }))
      this.#worker.postMessage({ id, sign })
    } catch {
      // Without a worker the sign of life is given by this thread alone, as long as it is not busy.
    }
  }

  forget({ id }: RegisteredInstance): void {
    this.#worker?.postMessage({ id, sign: undefined })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#worker?.terminate()
    this.#worker = undefined
  }
}
