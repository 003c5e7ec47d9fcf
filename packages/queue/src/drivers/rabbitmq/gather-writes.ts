import type { Writable } from 'node:stream'

/**
 * Lets all that is written to the stream in one turn leave as one piece. The client writes every message and every acknowledgement by itself,
 * and a system call for each costs more than all the rest of it.
 */
export function gatherWrites(stream: Writable): void {
  const write = stream.write.bind(stream) as Writable['write']
  let gathering = false
  const gather = (...args: Parameters<Writable['write']>): boolean => {
    if (!gathering) {
      gathering = true
      stream.cork()
      process.nextTick(() => {
        gathering = false
        stream.uncork()
      })
    }
    return write(...args)
  }
  stream.write = gather as Writable['write']
}
