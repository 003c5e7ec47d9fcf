import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { backgroundTimeout } from '@platform/kernel'
import type { LoggerLike } from './logger-like.ts'

/** So little at a time that a verdict never waits for it. */
const chunkBytes = 16_384
const soonMs = 20
const latestMs = 250
const rotateBytes = 8_388_608
/** A worker that is slow to hear of another file writes into the old one meanwhile. */
const lingerMs = 5_000
/** Beyond it the oldest file is given up: the disk must not fill. */
const mostFiles = 4
const longestLine = 262_144

export const logName = 'access.log'
const positionName = 'access.position'

interface Part {
  readonly path: string
  readonly fd: number
  readonly inode: number
  offset: number
  /** When nginx was told of the next one; undefined for the one that it writes. */
  turnedAt: number | undefined
}

interface LogFileOptions {
  readonly folder: string
  /** Whole lines, with their ends. */
  readonly onLines: (text: string) => void
  /** Has nginx open the file anew. */
  readonly reopen: () => void
  readonly logger: LoggerLike
}

/**
 * The file that nginx writes its access log to, read as it grows and turned when it is long. nginx never waits for the reader, and what was written
 * while none was there is read by the next: how far it was read stands beside it.
 */
export class LogFile {
  readonly #options: LogFileOptions
  readonly #chunk = Buffer.allocUnsafe(chunkBytes)
  #parts: Part[] = []
  #rest: Buffer = Buffer.alloc(0)
  #position: number | undefined
  #timer: NodeJS.Timeout | undefined
  #waitMs = soonMs

  constructor(options: LogFileOptions) {
    this.#options = options
  }

  open(): void {
    const { folder } = this.#options
    const old = readdirSync(folder)
      .filter((name) => /^access-\d+\.log$/.test(name))
      .toSorted()
    this.#parts = [...old, logName].map((name) => openPart(join(folder, name)))
    for (const part of this.#parts.slice(0, -1)) part.turnedAt = performance.now()
    const [inode, offset] = readPosition(join(folder, positionName))
    const begun = this.#parts.find((part) => part.inode === inode)
    if (begun !== undefined && fstatSync(begun.fd).size >= offset) begun.offset = offset
    this.#position = openSync(join(folder, positionName), 'w', 0o600)
    this.#note()
    this.#schedule()
  }

  /** Once nginx has ended: the rest is read, and nothing is left behind. */
  close(): void {
    if (this.#position === undefined) return
    clearTimeout(this.#timer)
    while (this.#read(true) > 0);
    for (const { fd, path } of this.#parts) {
      closeSync(fd)
      rmSync(path, { force: true })
    }
    closeSync(this.#position)
    this.#position = undefined
    rmSync(join(this.#options.folder, positionName), { force: true })
  }

  #schedule(): void {
    this.#timer = backgroundTimeout(() => this.#turn(), this.#waitMs)
  }

  #turn(): void {
    try {
      const bytes = this.#read(false)
      this.#waitMs = bytes === chunkBytes ? 0 : bytes > 0 ? soonMs : Math.min(latestMs, this.#waitMs * 2 || soonMs)
      if (fstatSync(this.#parts.at(-1)!.fd).size >= rotateBytes) this.#rotate()
    } catch (error) {
      this.#waitMs = latestMs
      this.#options.logger.error({ reason: (error as Error).message }, 'the access log cannot be read')
    }
    this.#schedule()
  }

  /** Says how much was read: 0 at the end of all that is there. */
  #read(nginxHasEnded: boolean): number {
    for (;;) {
      const part = this.#parts[0]!
      const bytes = readSync(part.fd, this.#chunk, 0, chunkBytes, part.offset)
      if (bytes > 0) {
        part.offset += bytes
        this.#take(this.#chunk.subarray(0, bytes))
        this.#note()
        return bytes
      }
      const isLast = this.#parts.length === 1
      if (isLast || !(nginxHasEnded || isOver(part))) return 0
      this.#drop(part)
    }
  }

  #drop(part: Part): void {
    this.#parts = this.#parts.filter((each) => each !== part)
    this.#rest = Buffer.alloc(0)
    closeSync(part.fd)
    rmSync(part.path, { force: true })
  }

  #take(chunk: Buffer): void {
    const end = chunk.lastIndexOf(10) + 1
    if (end === 0) {
      // One that is too long is cut: what is left of it is no line.
      this.#rest = Buffer.concat([this.#rest, chunk]).subarray(0, longestLine)
      return
    }
    const whole = chunk.subarray(0, end)
    this.#options.onLines((this.#rest.length === 0 ? whole : Buffer.concat([this.#rest, whole])).toString('utf8'))
    this.#rest = Buffer.from(chunk.subarray(end))
  }

  /** Of the last whole line, so that one that was read in part is read again by the next reader. */
  #note(): void {
    const { inode, offset } = this.#parts[0]!
    writeSync(this.#position!, `${inode} ${offset - this.#rest.length}`.padEnd(48), 0)
  }

  #rotate(): void {
    const { folder, reopen, logger } = this.#options
    const last = this.#parts.at(-1)!
    const path = join(folder, `access-${Date.now()}.log`)
    renameSync(last.path, path)
    const turned: Part = { ...last, path, turnedAt: performance.now() }
    this.#parts = [...this.#parts.slice(0, -1), turned, openPart(join(folder, logName))]
    reopen()
    while (this.#parts.length > mostFiles) {
      const oldest = this.#parts[0]!
      const bytes = fstatSync(oldest.fd).size - oldest.offset
      if (bytes > 0) logger.error({ bytes }, 'lines of the access log are given up: they come faster than they can be read')
      this.#drop(oldest)
    }
  }
}

/** Nothing more comes: by now every worker writes the next one. */
function isOver({ turnedAt }: Part): boolean {
  return turnedAt !== undefined && performance.now() - turnedAt > lingerMs
}

/** For this user and the workers only, to whom nginx gives it: paths may hold what the redactor takes out later. */
function openPart(path: string): Part {
  const fd = openSync(path, 'a+', 0o600)
  return { path, fd, inode: fstatSync(fd).ino, offset: 0, turnedAt: undefined }
}

function readPosition(path: string): [inode: number, offset: number] {
  try {
    const [inode = 0, offset = 0] = readFileSync(path, 'utf8').trim().split(' ').map(Number)
    return [inode, offset]
  } catch {
    return [0, 0]
  }
}
