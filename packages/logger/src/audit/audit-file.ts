import { type FileHandle, open, stat } from 'node:fs/promises'

/** What has nothing to keep safe: a pipe, a terminal. */
const withoutSync: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP', 'EROFS'])

/** A file that is only ever added to, and whose bytes are on the disk when `append` resolves. One call at a time. */
export class AuditFile {
  readonly #path: string
  #handle: FileHandle | undefined
  #inode = 0
  /** A line that an earlier failure or crash left without its end. */
  #isTorn = false

  constructor(path: string) {
    this.#path = path
  }

  async append(lines: string): Promise<void> {
    const handle = await this.open()
    const bytes = Buffer.from(this.#isTorn ? `\n${lines}` : lines)
    this.#isTorn = true
    for (let written = 0; written < bytes.length; ) written += (await handle.write(bytes, written)).bytesWritten
    this.#isTorn = false
    await handle.datasync().catch((error: NodeJS.ErrnoException) => {
      if (!withoutSync.has(error.code ?? '')) throw error
    })
  }

  /** The file that has the name now: one that was moved away is left. */
  async open(): Promise<FileHandle> {
    if (this.#handle !== undefined) {
      const named = await stat(this.#path).catch(() => undefined)
      if (named?.ino === this.#inode) return this.#handle
      await this.close()
    }
    const handle = await open(this.#path, 'a+', 0o600)
    const { ino, size } = await handle.stat()
    this.#handle = handle
    this.#inode = ino
    this.#isTorn = size > 0 && (await endsInsideLine(handle, size))
    return handle
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close().catch(() => {})
  }
}

async function endsInsideLine(handle: FileHandle, size: number): Promise<boolean> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(1), 0, 1, size - 1)
  return bytesRead === 1 && buffer[0] !== 10
}
