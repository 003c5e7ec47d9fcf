/**
 * Whoever read the process's output has gone (EPIPE: a log shipper that died). Node makes each further line an uncaught error, and the line
 * about that error the next. Told once; every later error of the two streams is dropped until the function returned is called.
 */
export function onOutputLoss(lost: (stream: 'stdout' | 'stderr', error: Error) => void): () => void {
  let told = false
  const listeners = (['stdout', 'stderr'] as const).map((stream) => {
    const listener = (error: Error): void => {
      if (told) return
      told = true
      lost(stream, error)
    }
    process[stream].on('error', listener)
    return () => process[stream].removeListener('error', listener)
  })
  return () => listeners.forEach((remove) => remove())
}
