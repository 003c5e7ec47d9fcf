type Output = 'stdout' | 'stderr'

/** A disk or a quota that is full now may have room again: such a stream is written to as before. */
const passing = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EAGAIN'])

export interface OutputLoss {
  /** Whoever read it is gone (EPIPE: a log shipper that died). Told once. */
  gone(stream: Output, error: Error): void
  /** What was written is lost, what comes may not be. Told once for each stream. */
  full(stream: Output, error: Error): void
}

/**
 * Node makes each line that cannot be written an uncaught error, and the line about that error the next. From now on errors of the two streams
 * are told here, and further ones are dropped, for as long as the process lives: the last line may fail when everything else is over.
 */
export function onOutputLoss({ gone, full }: OutputLoss): void {
  const told = new Set<Output | 'gone'>()
  const once = (what: Output | 'gone', tell: () => void): void => {
    if (told.has(what)) return
    told.add(what)
    tell()
  }
  for (const stream of ['stdout', 'stderr'] as const) {
    process[stream].on('error', (error: NodeJS.ErrnoException) => {
      if (passing.has(error.code ?? '')) once(stream, () => full(stream, error))
      else once('gone', () => gone(stream, error))
    })
  }
}
