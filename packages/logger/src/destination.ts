import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync, type Stats, writeSync } from 'node:fs'
import { resolve } from 'node:path'

/** Where lines go. `write` takes as many bytes as it can at once and never waits. */
export interface Destination {
  /** The same for all that write to one file, pipe, terminal or stream. */
  readonly identity: unknown
  /** Bytes taken, or `'all'` of them; `'full'` when none can be taken now, `'gone'` when none ever will. */
  write(chunk: string | Buffer): number | 'all' | 'full' | 'gone'
  /** Calls back when it may take more; absent when it has to be asked. */
  onWritable?(listener: () => void): void
  /** Opens the path again, for a file that was moved away; absent for what has no path of its own. */
  reopen?(): void
  /** Frees what was opened here, nothing else. */
  close(): void
}

type Opened = { readonly fd: number; readonly isOurs: boolean; readonly stat: Stats }

const gone = new Set(['EPIPE', 'EBADF', 'ECONNRESET', 'ENOTCONN'])
// Without O_NONBLOCK a pipe without a reader holds the process at its opening, and one whose reader stands still at every write.
const appending = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOCTTY

export function openDestination(target: number | string | NodeJS.WritableStream): Destination {
  return typeof target === 'object' ? streamDestination(target) : fileDestination(target)
}

/** What cannot be opened now is tried again at each line. */
function fileDestination(target: number | string): Destination {
  let opened: Opened | undefined
  let isClosed = false
  let hasWarned = false
  let isTorn = false
  const warn = (code: string) => {
    if (!hasWarned) process.emitWarning(`the log destination ${target} does not take lines (${code})`)
    hasWarned = true
  }
  const open = (): Opened => {
    opened = typeof target === 'string' ? openPath(target) : openDescriptor(target)
    isTorn = endsInsideLine(opened, target)
    return opened
  }
  const release = () => {
    if (opened?.isOurs) closeSync(opened.fd)
    opened = undefined
  }
  try {
    open()
  } catch {
    // Told when a line cannot be written.
  }
  const isFile = typeof target === 'string' && (opened === undefined || (opened as Opened).stat.isFile())
  const destination: Destination = {
    get identity() {
      return opened ? `${opened.stat.dev}:${opened.stat.ino}` : typeof target === 'string' ? resolve(target) : target
    },
    write(chunk) {
      if (isClosed) return 'gone'
      try {
        const { fd } = opened ?? open()
        if (isTorn) writeSync(fd, '\n')
        isTorn = false
        return typeof chunk === 'string' ? writeSync(fd, chunk) : writeSync(fd, chunk)
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? ''
        if (code === 'EAGAIN') return 'full'
        warn(code)
        return gone.has(code) ? 'gone' : 'full'
      }
    },
    close() {
      isClosed = true
      release()
    },
  }
  return isFile ? { ...destination, identity: destination.identity, reopen: release } : destination
}

function openPath(path: string): Opened {
  try {
    const fd = openSync(path, appending)
    return { fd, isOurs: true, stat: fstatSync(fd) }
  } catch (error) {
    // A socket cannot be opened by name: `/dev/stdout` is then the descriptor that it stands for.
    const standsFor = (error as NodeJS.ErrnoException).code === 'ENXIO' ? ownDescriptor(path) : undefined
    if (standsFor === undefined) throw error
    return openDescriptor(standsFor)
  }
}

function ownDescriptor(path: string): number | undefined {
  let target = path
  for (let links = 0; links < 4; links++) {
    const [, fd] = /^\/(?:proc\/(?:self|\d+)|dev)\/fd\/(\d+)$/.exec(target) ?? []
    if (fd !== undefined) return Number(fd)
    try {
      target = resolve(target, '..', readlinkSync(target))
    } catch {
      return undefined
    }
  }
  return undefined
}

/**
 * A pipe or a terminal whose reader stands still would stop the whole process at the next write. Opening it once more by its name gives a
 * descriptor of our own that says EAGAIN instead, and leaves the flags of the shared one alone.
 */
function openDescriptor(fd: number): Opened {
  const stat = fstatSync(fd)
  if ((stat.isFIFO() || stat.isCharacterDevice()) && process.platform === 'linux') {
    try {
      const own = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
      return { fd: own, isOurs: true, stat }
    } catch {
      // No /proc, or not ours to open: the shared descriptor has to do.
    }
  }
  // Node makes a pipe or socket of the standard streams non-blocking when it opens them.
  if (stat.isFIFO() || stat.isSocket()) void (fd === 1 ? process.stdout : fd === 2 ? process.stderr : undefined)
  return { fd, isOurs: false, stat }
}

/** Whether a process that died in the middle of a line, or ran out of disk, left its beginning at the end of the file. */
function endsInsideLine({ fd, stat }: Opened, target: number | string): boolean {
  if (!stat.isFile() || stat.size === 0) return false
  let reader: number | undefined
  try {
    reader = openSync(typeof target === 'string' ? target : `/proc/self/fd/${fd}`, constants.O_RDONLY)
    const last = Buffer.alloc(1)
    return readSync(reader, last, 0, 1, stat.size - 1) === 1 && last[0] !== 10
  } catch {
    return false
  } finally {
    if (reader !== undefined) closeSync(reader)
  }
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
    identity: stream,
    write(chunk) {
      if (isGone || stream.writable === false) return 'gone'
      if (isFull) return 'full'
      try {
        isFull = !stream.write(chunk)
        return 'all'
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
