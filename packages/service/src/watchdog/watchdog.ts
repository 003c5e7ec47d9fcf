import { Worker } from 'node:worker_threads'
import { background, backgroundInterval, orAborted } from '@platform/kernel'
import type { Health } from '@platform/health'
import { ServiceError } from '../errors.ts'
import type { Tell } from '../events.ts'
import type { ResolvedWatchdogOptions } from './options.ts'
import { program } from './thread.ts'

export interface Watchdog {
  /** Where liveness is answered by the thread, while it is. */
  readonly port: number | undefined
  /** Rejects when the port cannot be had. */
  start(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

type Word =
  | { readonly listening: boolean; readonly port?: number; readonly code?: string }
  | { readonly stalledMs: number; readonly stack: readonly string[] }

/** How often the main thread says that it runs; a stall is known to this. */
const tickMs = 100

/** A thread that sees when the main one stands still, and where. */
export function createWatchdog(
  options: ResolvedWatchdogOptions,
  { service, health, tell }: { service: string; health: Health; tell: Tell },
): Watchdog {
  const { port, host, stallMs, failAfterMs } = options
  const beats = new Int32Array(new SharedArrayBuffer(8))
  let worker: Worker | undefined
  let beating: NodeJS.Timeout | undefined
  let listensOn: number | undefined

  function beat(): void {
    Atomics.add(beats, 0, 1)
    // Loops that are silent while this one runs.
    Atomics.store(beats, 1, health.liveness().status === 'fail' ? 1 : 0)
  }

  function launch(): Promise<void> {
    const workerData = { shared: beats.buffer, tickMs, stallMs, failAfterMs, port, host, service }
    const started = new Worker(program, { eval: true, name: 'watchdog', workerData })
    worker = background(started)
    return new Promise((resolve, reject) => {
      started.on('error', reject)
      started.on('message', (word: Word) => {
        if ('stalledMs' in word) return tell({ type: 'stalled', durationMs: word.stalledMs, stack: word.stack })
        listensOn = word.port
        if (word.listening) return resolve()
        const isTaken = word.code === 'EADDRINUSE'
        const message = `the watchdog cannot listen on port ${port} of ${host} (${word.code})`
        reject(
          new ServiceError(isTaken ? 'ERR_SERVICE_PORT_TAKEN' : 'ERR_SERVICE_START_FAILED', message, port === undefined ? {} : { port }),
        )
      })
    })
  }

  return {
    get port() {
      return listensOn
    },
    async start(signal) {
      beating = backgroundInterval(beat, tickMs)
      await orAborted(launch(), signal)
    },
    async close() {
      clearInterval(beating)
      listensOn = undefined
      await worker?.terminate()
      worker = undefined
    },
  }
}
