import { isatty } from 'node:tty'
import { isMainThread } from 'node:worker_threads'
import { backgroundTimeout } from '@platform/kernel'

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
export type EarlySignal = (typeof signals)[number]

/** A program that was sent one and has not called `run()` within this time is left to what the signal does by itself. */
const keepMs = 5_000

/**
 * Between the import of this package and `run()` (while settings are loaded, say) a signal would end the process with all it holds half open,
 * or, for process 1 of a container, be lost: the kernel gives that one no default. It is kept until `run()` takes it.
 */
const kept = new Set<EarlySignal>()
let isTaken = false

const isEnding = (signal: EarlySignal): boolean => signal !== 'SIGHUP'

function keep(signal: EarlySignal): void {
  // The second one that asks for the end is not waited for, nor is somebody's Ctrl-C at a terminal, or that the terminal went.
  const isUrgent = (isEnding(signal) && [...kept].some(isEnding)) || (signal !== 'SIGTERM' && isatty(0))
  kept.add(signal)
  if (isUrgent) return letGo(signal)
  backgroundTimeout(() => !isTaken && kept.has(signal) && letGo(signal), keepMs)
}

function letGo(signal: EarlySignal): void {
  // A SIGHUP that somebody else has heard, or that process 1 would not have felt, ends nothing.
  if (!isEnding(signal) && (process.pid === 1 || process.listenerCount(signal) > 1)) return void kept.delete(signal)
  stopListening()
  // Another listener in the program has seen it and decides.
  if (process.listenerCount(signal) > 0) return
  // The signal itself says to the parent why the process ended; process 1 outlives it.
  if (process.pid !== 1) process.kill(process.pid, signal)
  else process.exit(signal === 'SIGTERM' ? 143 : 130)
}

function stopListening(): void {
  isTaken = true
  for (const signal of signals) process.removeListener(signal, keep)
}

if (isMainThread) for (const signal of signals) process.on(signal, keep)

/** The signal that came before, if one did; of several the one that asks for the end. From now on the caller listens. */
export function takeEarlySignal(): EarlySignal | undefined {
  const early = isTaken ? [] : [...kept]
  stopListening()
  return early.find(isEnding) ?? early[0]
}
