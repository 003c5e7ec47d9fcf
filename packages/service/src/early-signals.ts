import { isatty } from 'node:tty'
import { isMainThread } from 'node:worker_threads'
import { backgroundTimeout } from '@platform/kernel'

const endings = ['SIGTERM', 'SIGINT'] as const
export type EndingSignal = (typeof endings)[number]

/** A program that has asked for its end and not called `run()` within this time is left to what the signal does by itself. */
const keepMs = 5_000

/**
 * Between the import of this package and `run()` (while settings are loaded, say) a signal would end the process with all it holds half open,
 * or, for process 1 of a container, be lost: the kernel gives that one no default. It is kept until `run()` takes it.
 */
let state: 'waiting' | 'kept' | 'taken' = 'waiting'
let kept: EndingSignal | undefined

function keep(signal: EndingSignal): void {
  // The second one is not waited for, nor is somebody's Ctrl-C at a terminal.
  const isUrgent = state === 'kept' || (signal === 'SIGINT' && isatty(0))
  state = 'kept'
  kept = signal
  if (isUrgent) return letGo()
  backgroundTimeout(() => state === 'kept' && letGo(), keepMs)
}

function letGo(): void {
  const signal = kept as EndingSignal
  stopListening()
  // Another listener in the program has seen it and decides.
  if (process.listenerCount(signal) > 0) return
  // The signal itself says to the parent why the process ended; process 1 outlives it.
  if (process.pid !== 1) process.kill(process.pid, signal)
  else process.exit(signal === 'SIGTERM' ? 143 : 130)
}

function stopListening(): void {
  state = 'taken'
  for (const signal of endings) process.removeListener(signal, keep)
}

if (isMainThread) for (const signal of endings) process.on(signal, keep)

/** The signal that came before, if one did. From now on the caller listens. */
export function takeEarlySignal(): EndingSignal | undefined {
  const signal = state === 'kept' ? kept : undefined
  stopListening()
  return signal
}
