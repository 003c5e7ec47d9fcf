import { isatty } from 'node:tty'
import { openDestination } from './destination.ts'
import { type Outlet, Sink } from './sink.ts'

/** The sinks of this process, one for each file, pipe, terminal or stream that a logger writes to. */
const sinks = new Set<Sink>()

export function openSink(target: number | string | NodeJS.WritableStream, outlet: Outlet): Sink {
  const existing = typeof target === 'object' ? [...sinks].find(({ identity }) => identity === target) : undefined
  const sink = existing ?? shared(target)
  sink.open(outlet)
  return sink
}

function shared(target: number | string | NodeJS.WritableStream): Sink {
  const destination = openDestination(target)
  const existing = [...sinks].find(({ identity }) => identity === destination.identity)
  if (existing) {
    destination.close()
    return existing
  }
  const sink = new Sink(destination)
  sinks.add(sink)
  if (sink.canReopen) listenForHangup()
  return sink
}

export function closeSink(sink: Sink, outlet: Outlet): void {
  if (!sink.release(outlet)) return
  sinks.delete(sink)
  if (![...sinks].some(({ canReopen }) => canReopen)) process.off('SIGHUP', onHangup)
}

// SIGHUP is how a log file that was moved away is opened again. A program that hangs on a terminal still ends when that hangs up.
let hasTerminal = false

function listenForHangup(): void {
  if (process.listeners('SIGHUP').includes(onHangup)) return
  hasTerminal = [0, 1, 2].some((fd) => isatty(fd))
  process.on('SIGHUP', onHangup)
}

function onHangup(): void {
  for (const sink of sinks) sink.reopen()
  if (!hasTerminal || process.listenerCount('SIGHUP') > 1) return
  process.off('SIGHUP', onHangup)
  process.kill(process.pid, 'SIGHUP')
}
