/** Sinks whose lines wait: the end of the process gives them one more moment. One listener for all of them. */
interface Flushable {
  flushAtExit(): void
}

const waiting = new Set<Flushable>()

export function holdExit(sink: Flushable): void {
  if (waiting.size === 0) process.on('exit', flushAll)
  waiting.add(sink)
}

export function releaseExit(sink: Flushable): void {
  if (waiting.delete(sink) && waiting.size === 0) process.off('exit', flushAll)
}

function flushAll(): void {
  for (const sink of waiting) sink.flushAtExit()
}
