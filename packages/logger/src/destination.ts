import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'

/** Where lines go. `write` takes as many bytes as it can at once and never waits. */
export interface Destination {
  /** Bytes taken, `'full'` when none can be taken now, `'gone'` when none ever will. */
  write(chunk: string | Buffer): number | 'full' | 'gone'
  /** Calls back when it may take more; absent when it has to be asked. */
  onWritable?(listener: () => void): void
  /** Frees what was opened here, nothing else. */
  close(): void
}

const gone = new Set(['EPIPE', 'EBADF', 'ECONNRESET', 'ENOTCONN'])

export function openDestination(target: number | string | NodeJS.WritableStream): Destination {
  if (typeof target === 'object') return streamDestination(target)
  return fileDestination(target)
}

/** Opened at the first line: a logger is made before anything can fail. */
function fileDestination(target: number | string): Destination {
  let opened: { fd: number; isOurs: boolean } | undefined
  let isClosed = false
  let hasWarned = false
  return {
    write(chunk) {
      if (isClosed) return 'gone'
      try {
        opened ??= typeof target === 'string' ? { fd: openSync(target, 'a'), isOurs: true } : neverBlocking(target)
        return typeof chunk === 'string' ? writeSync(opened.fd, chunk) : writeSync(opened.fd, chunk)
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? ''
        if (code === 'EAGAIN') return 'full'
        if (!hasWarned) process.emitWarning(`the log destination ${target} does not take lines (${code})`)
        hasWarned = true
        return gone.has(code) ? 'gone' : 'full'
      }
    },
    close() {
      isClosed = true
      if (opened?.isOurs) closeSync(opened.fd)
      opened = undefined
    },
  }
}

/**
 * A pipe whose reader stands still would stop the whole process at the next write. Opening it once more by its name gives a
 * descriptor of our own that says EAGAIN instead, and leaves the flags of the shared one alone.
 */
function neverBlocking(fd: number): { fd: number; isOurs: boolean } {
  const stat = fstatSync(fd)
  if (stat.isFIFO() && process.platform === 'linux') {
    try {
      return { fd: openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK), isOurs: true }
    } catch {
      // No /proc, or not our pipe to open: the shared descriptor has to do.
    }
  }
  // Node makes a pipe or socket of the standard streams non-blocking when it opens them.
  if (stat.isFIFO() || stat.isSocket()) void (fd === 1 ? process.stdout : fd === 2 ? process.stderr : undefined)
  return { fd, isOurs: false }
}

function streamDestination(stream: NodeJS.WritableStream): Destination {
  let isFull = false
  let isGone = false
  let listener: (() => void) | undefined
  const onDrain = () => {
    isFull = false
    listener?.()
  }
  const onEnd = () => {
    isGone = true
    listener?.()
  }
  stream.on('drain', onDrain).on('error', onEnd).on('close', onEnd)
  return {
    write(chunk) {
      if (isGone || stream.writable === false) return 'gone'
      if (isFull) return 'full'
      try {
        isFull = !stream.write(chunk)
        return Buffer.byteLength(chunk)
      } catch {
        return 'gone'
      }
    },
    onWritable(next) {
      listener = next
    },
    close() {
      isGone = true
      stream.off('drain', onDrain).off('close', onEnd)
      // The error listener stays: an error after this must not become an uncaught one because a logger was closed.
    },
  }
}
